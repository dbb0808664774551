/** Acknowledgements of one channel, against a model of the broker. @module */
import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import type { Channel } from "../../../src/amqp/mod.ts";
import type { HealthRecorder } from "../../../src/transport/rabbitmq/connection/connection_health.ts";
import {
  AckBatcher,
  deliveryCountOf,
} from "../../../src/transport/rabbitmq/consuming/deliveries.ts";
import {
  body,
  FakeBroker,
  header,
  method,
  text,
} from "../../amqp/fake_broker.ts";
import { until } from "../../setup/probe.ts";

/** The broker's side of a channel: which deliveries it has, and which were settled. */
class Broker {
  readonly unsettled = new Set<number>();
  readonly acknowledged = new Set<number>();
  readonly rejected = new Set<number>();
  isOpen = true;
  /** Number of acknowledgements that were sent. */
  sent = 0;

  ack(tag: number, multiple = false): void {
    this.sent++;
    assert.ok(this.unsettled.has(tag), `unknown delivery tag ${tag}`);
    for (const each of [...this.unsettled]) {
      if (each === tag || multiple && each < tag) this.#move(each);
    }
  }

  reject(tag: number, requeue: boolean): void {
    assert.ok(!requeue, "it would count towards the delivery limit");
    this.nack(tag);
  }

  nack(tag: number): void {
    assert.ok(this.unsettled.delete(tag), `unknown delivery tag ${tag}`);
    this.rejected.add(tag);
  }

  #move(tag: number): void {
    this.unsettled.delete(tag);
    this.acknowledged.add(tag);
  }
}

const step = fc.oneof(
  { weight: 4, arbitrary: fc.constant({ kind: "deliver" } as const) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constantFrom("ack" as const, "reject" as const),
      which: fc.nat(),
      requeue: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "flush" } as const) },
);

function batcher() {
  const broker = new Broker();
  const stale = { count: 0 };
  const recorder = { recordStale: (count: number) => stale.count += count };
  const acks = new AckBatcher(
    broker as unknown as Channel,
    recorder as unknown as HealthRecorder,
  );
  return { broker, acks, stale };
}

Deno.test("the broker gets the acknowledgement of each delivery that was acknowledged, and of no other", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const { broker, acks } = batcher();
      const held: number[] = [];
      const done = { ack: new Set<number>(), reject: new Set<number>() };
      let tag = 0;
      for (const each of steps) {
        if (each.kind === "deliver") {
          broker.unsettled.add(++tag);
          acks.delivered(tag);
          held.push(tag);
        } else if (each.kind === "flush") acks.flush();
        else if (held.length > 0) {
          const [one = 0] = held.splice(each.which % held.length, 1);
          if (each.kind === "ack") acks.ack(one, 5);
          else acks.reject(one, each.requeue);
          done[each.kind].add(one);
        }
      }
      acks.flush();
      assert.deepEqual(broker.acknowledged, done.ack);
      assert.deepEqual(broker.rejected, done.reject);
      assert.deepEqual([...broker.unsettled], held.sort((a, b) => a - b));
    }),
    { numRuns: 500 },
  );
});

Deno.test("ten thousand deliveries that are acknowledged in order take one acknowledgement for each flush", () => {
  const { broker, acks } = batcher();
  for (let tag = 1; tag <= 10_000; tag++) {
    broker.unsettled.add(tag);
    acks.delivered(tag);
    acks.ack(tag, 5);
    if (tag % 100 === 0) acks.flush();
  }
  assert.equal(broker.sent, 100);
  assert.equal(broker.acknowledged.size, 10_000);
});

Deno.test("acknowledgements for a closed channel are counted, and not sent", () => {
  const { broker, acks, stale } = batcher();
  for (const tag of [1, 2, 3]) acks.delivered(tag);
  acks.ack(1, 5);
  broker.isOpen = false;
  acks.ack(2, 5);
  acks.reject(3, true);
  acks.flush();
  assert.equal(stale.count, 3);
  assert.equal(broker.sent, 0);
});

Deno.test("an acknowledgement that may wait is sent with one that may not", async () => {
  const { broker, acks } = batcher();
  for (const tag of [1, 2]) {
    broker.unsettled.add(tag);
    acks.delivered(tag);
  }
  acks.ack(1, 60_000);
  acks.ack(2);
  await new Promise((resolve) => setTimeout(resolve)); // the end of this turn
  assert.equal(broker.acknowledged.size, 2);
  acks.flush(); // ends the timer
});

Deno.test("no acknowledgement includes a message of an unknown consumer, or one whose body is not complete", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const recorder = { recordStale: () => {} } as unknown as HealthRecorder;
  const acks = new AckBatcher(channel, recorder);
  const tags: number[] = [];
  const onMessage = ({ deliveryTag }: { readonly deliveryTag: number }) => {
    acks.delivered(deliveryTag);
    tags.push(deliveryTag);
  };
  const options = { consumerTag: "known" };
  const consuming = channel.consume("q", { onMessage }, options);
  await peer.expect("basic.consume", 1);
  await peer.write(method(1, "basic.consume-ok", options));
  await consuming;
  const deliver = (consumerTag: string, deliveryTag: number) => [
    method(1, "basic.deliver", { consumerTag, deliveryTag }),
    header(1, text("ab")),
    body(1, text("a").body),
  ];
  const rest = body(1, text("b").body);
  await peer.write(
    ...[...deliver("known", 1), rest],
    ...[...deliver("unknown", 2), rest],
    ...[...deliver("known", 3), rest],
    ...deliver("unknown", 4),
  );
  await until("all have come", () => tags.length === 2, 5_000, 1);
  for (const tag of tags) acks.ack(tag, 60_000);
  acks.flush();
  await peer.write(rest);
  await peer.expect("basic.nack", 1);
  await until("it is requeued", () => peer.sent.length === 2, 5_000, 1);
  assert.deepEqual(peer.sent.map(({ name, args }) => [name, args]), [
    ["basic.ack", { deliveryTag: 3, multiple: true }],
    ["basic.nack", { deliveryTag: 4, multiple: false, requeue: true }],
  ]);
  connection.destroy("the test ends");
});

Deno.test("all deliveries count, by the header that counts the most of them", () => {
  const counts: readonly (readonly [unknown, unknown, number | undefined])[] = [
    [undefined, undefined, undefined],
    [undefined, 3, 3], // RabbitMQ before 4.3
    [5, 3, 5],
    [5, undefined, 5],
    [undefined, -1, 0],
    ["5", Number.NaN, 0],
    [{}, 2, 2],
  ];
  for (const [acquired, delivered, count] of counts) {
    const headers = {
      "x-acquired-count": acquired,
      "x-delivery-count": delivered,
    };
    assert.equal(deliveryCountOf(headers), count);
  }
});

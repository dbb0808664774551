/** Acknowledgements of one channel, against a model of the broker. @module */
import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import type { Channel } from "../../../src/amqp/mod.ts";
import type { HealthRecorder } from "../../../src/transport/rabbitmq/connection/connection_health.ts";
import { AckBatcher } from "../../../src/transport/rabbitmq/consuming/deliveries.ts";

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

  reject(tag: number): void {
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
          else acks.reject(one, true);
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

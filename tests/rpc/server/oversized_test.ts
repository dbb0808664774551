/** Bodies above the limit: decided by the length that is announced, one at a time in memory, and nothing is lost. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  InvalidResultError,
  InvalidValueError,
} from "../../../mod.ts";
import type { ReceivedMessage } from "../../../src/amqp/mod.ts";
import { LargeBody } from "../../../src/transport/rabbitmq/consuming/large_body.ts";
import {
  BodyBudget,
  bodyBudget,
  BodyEdges,
} from "../../../src/transport/oversized_body.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import {
  failureOf,
  onEachBus,
  onRabbit,
  sumHandlers,
  sums,
} from "../support.ts";
import { deadOf, Stranger } from "../foreign_peer.ts";

const MIB = 1024 * 1024;

onEachBus(
  "casts above the limit are dead letters as they came, calls are answered, beside good calls",
  async (bus) => {
    await using _log = await logged();
    const api = sums(bus.topic);
    const worker = await bus.serve(api, sumHandlers());
    await using connection = await bus.connect();
    await using stranger = await Stranger.on(bus);
    const client = connection.client(api);
    const inbox = `${bus.topic}-answers`;
    bus.owns(inbox);
    const answers: string[] = [];
    const reader = await stranger.transport.consume(
      { kind: "topic", topic: inbox },
      (delivery) => {
        answers.push(new TextDecoder().decode(delivery.message.body));
        delivery.ack();
      },
      { prefetch: 0 },
      { at: performance.now() + 10_000 },
    );
    const bodies = Array.from(
      { length: 6 },
      (_, n) => Buffer.alloc(3 * MIB + n, `body ${n} `),
    );
    await Promise.all([
      ...bodies.map((body, n) =>
        stranger.put(bus.topic, body, {
          messageId: `cast-${n}`,
          headers: { n: `${n}` },
        })
      ),
      stranger.put(bus.topic, Buffer.alloc(3 * MIB, "call"), {
        correlationId: "call",
        replyTo: inbox,
      }),
      ...bodies.map(async (_, n) => {
        assert.equal(await client.call("add", { a: n, b: 1 }), n + 1);
      }),
    ]);
    await until("all were looked at", () => {
      return worker.stats.dead === bodies.length && answers.length === 1;
    }, 30_000);
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    await worker[Symbol.asyncDispose]();
    await reader.cancel();
    assert.match(answers[0] ?? "", /3145728 bytes, the limit is 1048576/);
    assert.deepEqual(await stranger.left(bus.topic), []);
    const letters = await stranger.take(deadOf(bus.topic), bodies.length);
    const sorted = letters.map(({ message }) => message)
      .sort((a, b) => a.body.length - b.body.length);
    for (const [n, { body, messageId, headers }] of sorted.entries()) {
      assert.equal(Buffer.compare(body, bodies[n]!), 0, `body ${n}`);
      assert.equal(messageId, `cast-${n}`);
      assert.equal(headers.n, `${n}`);
      assert.match(`${headers["warren-reason"]}`, /bytes, the limit is/);
    }
  },
);

onEachBus(
  "arguments above maxArgsSize are refused by the caller, and by the worker of a caller that does not know the contract",
  async (bus) => {
    await using _log = await logged();
    const { topic } = bus;
    let ran = 0;
    const api = contract({
      topic,
      version: "1.0",
      procedures: {
        take: { args: z.object({ text: z.string() }), maxArgsSize: 100 },
        list: { yields: z.number(), maxArgsSize: 100 },
      },
    });
    const handlers = {
      take: () => void ran++,
      async *list() {
        yield ++ran;
      },
    };
    await using worker = await bus.serve(api, handlers);
    await using connection = await bus.connect();
    const client = connection.client(api);
    const large = { text: "x".repeat(101) };
    const limits = { bytes: 112, limit: 100 };
    for (
      const refused of [
        client.call("take", large),
        client.cast("take", large),
        client.fanoutCast("take", large),
        client.multicall("list", large as never).next(),
      ]
    ) {
      const error = await failureOf(refused);
      assert.ok(error instanceof InvalidValueError);
      assert.deepEqual(error.data, { path: "", ...limits });
    }
    assert.equal(worker.stats.failed, 0, "nothing was sent");
    const error = await failureOf(connection.call({ topic }, "take", large));
    assert.ok(error instanceof InvalidValueError);
    assert.deepEqual(error.data, { path: "", ...limits });
    await connection.cast({ topic }, "take", large);
    await until("it is a dead letter", () => worker.stats.dead === 1);
    await client.call("take", { text: "small" });
    assert.equal(ran, 1);
  },
);

onEachBus(
  "an answer above the limit of its caller ends the call at once",
  async (bus) => {
    await using _log = await logged();
    const big = "x".repeat(3 * MIB);
    const api = sums(bus.topic);
    await using connection = await bus.connect();
    await using stranger = await Stranger.on(bus);
    const { transport } = stranger;
    const route = { kind: "topic", topic: bus.topic } as const;
    const reader = await transport.consume(
      route,
      (delivery) => {
        delivery.ack();
        const { body } = delivery.message;
        const { _msg_id, _reply_q } = JSON.parse(
          new TextDecoder().decode(body),
        );
        const answer = { result: big, failure: null, ending: true, _msg_id };
        const text = JSON.stringify({
          "oslo.version": "2.0",
          "oslo.message": JSON.stringify(answer),
        });
        void stranger.put(_reply_q, text); // as oslo.messaging: without a correlation id
      },
      { prefetch: 0 },
      { at: performance.now() + 10_000 },
    );
    const call = connection.client(api).call("add", { a: 1, b: 2 });
    const error = await failureOf(call);
    assert.ok(error instanceof InvalidResultError, `${error}`);
    assert.match(
      error.message,
      /\d+ bytes, the limit is 1048576; answer with less/,
    );
    assert.equal(error.data.limit, MIB);
    assert.ok(Number(error.data.bytes) > 3 * MIB);
    await reader.cancel();
  },
);

onRabbit(
  "a request above the limit gets an answer on OpenStack's bus, though it says in its body alone where",
  async (bus) => {
    await using _log = await logged();
    const options = { profile: "nova" } as const;
    const api = sums(bus.topic);
    await using worker = await bus.serve(api, sumHandlers(), options);
    await using connection = await bus.connect(options);
    await using raw = await bus.raw();
    assert.ok(raw);
    const { channel } = raw;
    const { queue } = await channel.assertQueue("", { exclusive: true });
    const told = Promise.withResolvers<string>();
    await channel.consume(queue, (message) => {
      told.resolve(`${message?.content}`);
    }, { noAck: true });
    const request = {
      method: "add",
      args: { a: "x".repeat(3 * MIB) },
      _msg_id: "0123456789abcdef",
      _reply_q: queue,
      _timeout: null,
    };
    const envelope = {
      "oslo.version": "2.0",
      "oslo.message": JSON.stringify(request),
    };
    channel.sendToQueue(bus.topic, Buffer.from(JSON.stringify(envelope)));
    const answer = await told.promise;
    assert.match(answer, /0123456789abcdef/);
    assert.match(answer, /bytes, the limit is 1048576/);
    const client = connection.client(api);
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    assert.equal(worker.stats.refused, 1);
  },
);

Deno.test("Edges keeps the beginning and the end of a body, in whatever pieces it comes", () => {
  for (const length of [0, 1, 65_536, 100_000, 131_072, 131_073, 500_000]) {
    const body = Buffer.from(
      Uint8Array.from({ length }, (_, n) => (n * 31 + (n >> 8)) & 255),
    );
    const expected = length <= 131_072
      ? body
      : Buffer.concat([body.subarray(0, 65_536), body.subarray(-65_536)]);
    for (const size of [1_000, 65_536, 131_064, 500_000]) {
      const edges = new BodyEdges(length);
      for (let at = 0; at < length; at += size) {
        edges.add(body.subarray(at, at + size));
      }
      assert.equal(
        Buffer.compare(edges.bytes, expected),
        0,
        `${length} ${size}`,
      );
    }
  }
});

Deno.test("a room has one body; those that wait for it go back one after the other, but for those that are gone", async () => {
  const room = new BodyBudget();
  assert.equal(room.tryAcquire(), true);
  assert.equal(room.tryAcquire(), false);
  const back: number[] = [];
  for (let n = 0; n < 4; n++) {
    room.postpone({ alive: n !== 1, requeue: () => void back.push(n) });
  }
  assert.deepEqual(back, []);
  room.release();
  assert.deepEqual(back, [0]);
  await until("the others are back", () => back.length === 3);
  assert.deepEqual(back, [0, 2, 3]);
});

Deno.test("of bodies above the limit that come at once, one is held in a process", () => {
  const received = (bodySize: number, deliveries = 0) =>
    ({
      bodySize,
      replyTo: undefined,
      headers: { "x-delivery-count": deliveries },
    }) as unknown as ReceivedMessage;
  const limit = { bytes: 10, allowWhole: true };
  const part = new Uint8Array(10).fill(7);
  const whole = new LargeBody(received(20), limit);
  const later = new LargeBody(received(20), limit);
  for (const each of [whole, later]) {
    for (let n = 0; n < 2; n++) each.write(part);
  }
  const { body, oversized } = whole.messageOf(received(20));
  assert.deepEqual([whole.kept, body.length, oversized], ["whole", 20, 20]);
  assert.ok(body.every((byte) => byte === 7));
  assert.equal(later.kept, "later");
  assert.equal(later.messageOf(received(20)).body.length, 0);
  const worn = [1, 2].map(() => new LargeBody(received(20, 10), limit));
  assert.deepEqual(worn.map(({ kept }) => kept), ["whole", "later"]);
  for (const each of [later, ...worn]) each.release();
  assert.equal(bodyBudget.tryAcquire(), false, "the first one still holds it");
  whole.release(); // as its delivery does when it is settled
  const half = new LargeBody(received(20), limit);
  half.write(part);
  assert.equal(
    bodyBudget.tryAcquire(),
    false,
    "taken when its length is announced",
  );
  half.abort();
  assert.equal(bodyBudget.tryAcquire(), true, "free when its channel is gone");
  bodyBudget.release();
});

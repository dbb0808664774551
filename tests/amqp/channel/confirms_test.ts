/** Publisher confirms: of a real broker, and in every order that a broker may choose. */
import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import type { Confirmation } from "../../../src/amqp/mod.ts";
import { Confirms } from "../../../src/amqp/channel/confirms.ts";
import { until } from "../../setup/probe.ts";
import { exclusiveQueue, opened } from "../broker.ts";
import { FakeBroker, method, text } from "../fake_broker.ts";

const body = new Uint8Array(10);

Deno.test("each message is confirmed once, in order", async () => {
  await using it = await opened({ confirms: true });
  const queue = await exclusiveQueue(it.channel);
  const confirmed: number[] = [];
  for (let n = 0; n < 5_000; n++) {
    it.channel.publish(
      { exchange: "", routingKey: queue },
      { body },
      (confirmation) => {
        assert.equal(confirmation, "ack");
        confirmed.push(n);
      },
    );
  }
  await until("all are confirmed", () => confirmed.length === 5_000);
  confirmed.sort((a, b) => a - b);
  assert.deepEqual(confirmed, Array.from({ length: 5_000 }, (_, n) => n));
});

Deno.test("a full queue that rejects is a nack", async () => {
  await using it = await opened({ confirms: true });
  const queue = await exclusiveQueue(it.channel, {
    "x-max-length": 1,
    "x-overflow": "reject-publish",
  });
  const confirmations: Confirmation[] = [];
  for (let n = 1; n <= 4; n++) {
    it.channel.publish(
      { exchange: "", routingKey: queue },
      { body },
      (confirmation) => void confirmations.push(confirmation),
    );
    await until("it is confirmed", () => confirmations.length === n, 5_000, 1);
  }
  assert.deepEqual(confirmations, ["ack", "nack", "nack", "nack"]);
});

Deno.test("messages that are not confirmed when the channel is closed are lost", async () => {
  await using it = await opened({ confirms: true });
  const confirmations: Confirmation[] = [];
  it.channel.publish(
    { exchange: "no-such-exchange", routingKey: "" },
    { body },
    (confirmation) => void confirmations.push(confirmation),
  );
  const reason = await it.channel.closed;
  assert.deepEqual([reason.code, reason.method], [
    "NOT_FOUND",
    "basic.publish",
  ]);
  assert.deepEqual(confirmations, ["lost"]);
});

Deno.test("a message that cannot be encoded is not counted", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection, { confirms: true });
  const confirmed: string[] = [];
  const to = { exchange: "", routingKey: "q" };
  assert.throws(
    () =>
      channel.publish(
        to,
        { ...text("a"), priority: 999 },
        () => void confirmed.push("a"),
      ),
    TypeError,
  );
  assert.throws(
    () =>
      channel.publishLarge(
        to,
        { ...text("b"), priority: 999 },
        () => void confirmed.push("b"),
      ),
    TypeError,
  );
  channel.publish(to, text("c"), () => void confirmed.push("c"));
  await peer.write(
    method(1, "basic.ack", { deliveryTag: 0 }),
    method(1, "basic.ack", { deliveryTag: 2 }),
    method(1, "basic.ack", { deliveryTag: 1 }),
    method(1, "basic.ack", { deliveryTag: 1 }),
  );
  await until("it is confirmed", () => confirmed.length > 0, 5_000, 1);
  await peer.write(method(0, "connection.close", { replyCode: 320 }));
  await connection.closed;
  assert.deepEqual(confirmed, ["c"]);
});

/** A step of a broker. */
const steps = fc.array(
  fc.record({
    sends: fc.nat(40),
    tag: fc.nat(3_000),
    multiple: fc.boolean(),
    confirmation: fc.constantFrom("ack" as const, "nack" as const),
  }),
  { maxLength: 60 },
);

Deno.test("in any order of confirms, single and multiple, each message has its confirmation, once", () => {
  fc.assert(
    fc.property(steps, fc.boolean(), (steps, many) => {
      const confirms = new Confirms();
      const seen: Confirmation[][] = [];
      const expected: (Confirmation | undefined)[] = [];
      for (const { sends, tag, multiple, confirmation } of steps) {
        for (let n = 0; n < (many ? 50 * sends : sends); n++) {
          const index = seen.push([]) - 1;
          expected.push(undefined);
          confirms.add((confirmation) => void seen[index]?.push(confirmation));
        }
        confirms.settle(tag, multiple, confirmation);
        const first = multiple ? 1 : Math.max(tag, 1);
        for (let at = first; at <= Math.min(tag, seen.length); at++) {
          expected[at - 1] ??= confirmation;
        }
      }
      confirms.loseAll();
      assert.deepEqual(seen, expected.map((one) => [one ?? "lost"]));
    }),
    { numRuns: 100 },
  );
});

/** Steps of a broker that confirms only messages that wait for it. */
const exactSteps = fc.array(
  fc.record({
    /** Messages that are sent first; a thousand of them shorten the list inside. */
    sent: fc.oneof({ weight: 9, arbitrary: fc.nat(5) }, {
      weight: 1,
      arbitrary: fc.constant(1_000),
    }),
    /** Index of the confirmed message, among those that have no confirmation yet. */
    which: fc.nat(),
    multiple: fc.boolean(),
    confirmation: fc.constantFrom("ack" as const, "nack" as const),
  }),
  { maxLength: 60 },
);

Deno.test("each message has the confirmation of the broker, once, at once, and those that are left are lost at the end", () => {
  fc.assert(
    fc.property(exactSteps, (steps) => {
      const confirms = new Confirms();
      const seen: Confirmation[][] = [];
      /** Indexes of the messages that have no confirmation yet, in order. */
      let open: number[] = [];
      for (const { sent, which, multiple, confirmation } of steps) {
        for (let n = 0; n < sent; n++) {
          const own: Confirmation[] = [];
          open.push(seen.push(own) - 1);
          confirms.add((confirmation) => void own.push(confirmation));
        }
        const last = open[which % open.length];
        if (last === undefined) continue;
        const before = seen.map((each) => each.length);
        confirms.settle(last + 1, multiple, confirmation);
        const meant = new Set(
          multiple ? open.filter((n) => n <= last) : [last],
        );
        for (const [n, each] of seen.entries()) {
          const isNew = meant.has(n);
          assert.equal(each.length, isNew ? 1 : before[n]);
          if (isNew) assert.equal(each[0], confirmation);
        }
        open = open.filter((n) => !meant.has(n));
      }
      confirms.loseAll();
      for (const n of open) assert.deepEqual(seen[n], ["lost"]);
      assert.ok(seen.every((each) => each.length === 1));
    }),
    { numRuns: 200 },
  );
});

Deno.test("confirms of messages that were not sent, or have their confirmation, change nothing", () => {
  const confirms = new Confirms();
  const seen: Confirmation[] = [];
  confirms.settle(7, true, "ack");
  confirms.settle(3, false, "nack");
  confirms.settle(0, true, "nack");
  confirms.add((confirmation) => void seen.push(confirmation));
  assert.deepEqual(seen, []);
  confirms.settle(1, false, "ack");
  confirms.settle(1, true, "nack");
  assert.deepEqual(seen, ["ack"]);
  confirms.loseAll();
  assert.deepEqual(seen, ["ack"]);
});

Deno.test("a message that is published by a confirmation has its own", () => {
  const confirms = new Confirms();
  const seen: string[] = [];
  confirms.add((confirmation) => {
    seen.push(`first ${confirmation}`);
    confirms.add((confirmation) => void seen.push(`third ${confirmation}`));
  });
  confirms.add((confirmation) => void seen.push(`second ${confirmation}`));
  confirms.settle(2, true, "ack");
  assert.deepEqual(seen, ["first ack", "second ack"]);
  confirms.settle(3, false, "nack");
  assert.equal(seen.at(-1), "third nack");
});

Deno.test("settled() resolves when what was sent before it has its confirmation, whatever comes later", async () => {
  const confirms = new Confirms();
  const seen: string[] = [];
  const settled = (name: string) =>
    confirms.settled().then(() => void seen.push(name));
  await settled("nothing sent");
  confirms.add(() => {});
  confirms.add(() => {});
  const two = settled("two");
  confirms.add(() => {});
  const three = settled("three");
  confirms.settle(2, false, "ack");
  await Promise.resolve();
  assert.deepEqual(seen, ["nothing sent"]);
  confirms.settle(1, false, "nack");
  await two;
  assert.deepEqual(seen, ["nothing sent", "two"]);
  confirms.loseAll();
  await three;
  assert.deepEqual(seen, ["nothing sent", "two", "three"]);
});

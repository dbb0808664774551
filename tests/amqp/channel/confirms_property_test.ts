/** Publisher confirms: each message has one confirmation, in whatever ranges the broker confirms. */
import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import {
  type Confirmation,
  Confirms,
} from "../../../src/amqp/channel/confirms.ts";

const steps = fc.array(
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
    fc.property(steps, (steps) => {
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

/** Publisher confirms: each message gets one word, in whatever ranges the broker speaks. */
import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import {
  type Confirmation,
  PublisherConfirms,
} from "../../../src/transport/rabbitmq/amqplib/publisher_confirms.ts";

const told = fc.array(
  fc.record({
    sent: fc.nat(5),
    /** Of those that have no word yet. */
    which: fc.nat(),
    multiple: fc.boolean(),
    word: fc.constantFrom("ack" as const, "nack" as const),
  }),
  { maxLength: 60 },
);

Deno.test("each message gets the word that was said of it, once, and those that are left get theirs at the end", () => {
  fc.assert(fc.property(told, (told) => {
    const confirms = new PublisherConfirms();
    const words: Confirmation[][] = [];
    const expected: Confirmation[][] = [];
    for (const { sent, which, multiple, word } of told) {
      for (let n = 0; n < sent; n++) {
        const got: Confirmation[] = [];
        words.push(got);
        expected.push([]);
        confirms.add((word) => got.push(word));
      }
      const open = [...expected.keys()].filter((n) => !expected[n]?.length);
      const last = open[which % open.length];
      if (last === undefined) continue;
      confirms.settle(last + 1, multiple, word);
      const meant = multiple ? open.filter((n) => n <= last) : [last];
      for (const n of meant) expected[n]?.push(word);
      assert.deepEqual(words, expected);
    }
    confirms.loseAll();
    for (const each of expected) if (each.length === 0) each.push("lost");
    assert.deepEqual(words, expected);
  }));
});

Deno.test("what the broker says of messages that were not sent hurts nobody", () => {
  const confirms = new PublisherConfirms();
  const words: Confirmation[] = [];
  confirms.settle(7, true, "ack");
  confirms.settle(3, false, "nack");
  confirms.add((word) => words.push(word));
  assert.deepEqual(words, []);
  confirms.settle(1, false, "ack");
  confirms.settle(1, true, "nack");
  assert.deepEqual(words, ["ack"]);
});

/** Declarations of events. */
import assert from "node:assert/strict";
import { type } from "npm:arktype@2";
import * as v from "npm:valibot@1";
import { z } from "npm:zod@^4.6.7";
import { type EventContract, events, InvalidValueError } from "../../mod.ts";
import { parsePayload } from "../../src/contract/events.ts";

/** The error with which a declaration, perhaps of a user of JavaScript, is refused. */
function refused(declared: unknown): InvalidValueError {
  let thrown: unknown;
  try {
    events(declared as Record<never, never>);
  } catch (error) {
    thrown = error;
  }
  assert.ok(thrown instanceof InvalidValueError, Deno.inspect(thrown));
  return thrown;
}

Deno.test("events() returns the record that it was given, with schemas of any library", async () => {
  const declared = {
    "a.zod": z.object({ n: z.string().transform(Number) }),
    "a.valibot": v.object({ n: v.number() }),
    "a.arktype": type({ n: "number" }),
    ["é".repeat(127)]: z.string(),
  };
  assert.equal(events(declared), declared);
  const parsed = (type: string, payload: unknown) =>
    parsePayload(declared as EventContract, type, payload);
  assert.deepEqual(await parsed("a.zod", { n: "7" }), { n: 7 });
  for (const type of ["a.zod", "a.valibot", "a.arktype"]) {
    await assert.rejects(parsed(type, { n: true }), (error) => {
      assert.ok(error instanceof InvalidValueError);
      assert.equal(error.data.path, "n");
      return error.message.startsWith(`Invalid payload of ${type}: n: `);
    });
  }
});

Deno.test("events() refuses what is no plain record of schemas by valid types, and names the type", () => {
  class Own {}
  const noRecords = [null, undefined, "x", [], new Own(), new Map()];
  // This literal has no member of its own; its schema would be lost.
  const lost = { __proto__: z.string() };
  for (const each of [...noRecords, lost]) {
    assert.match(refused(each).message, /^Invalid events: give a plain record/);
  }
  for (const type of ["", "x".repeat(256), "é".repeat(128)]) {
    const error = refused({ [type]: z.string() });
    assert.match(error.message, /^Invalid event type .*give 1 to 255 bytes$/);
  }
  for (const schema of [undefined, null, {}, () => {}, { "~standard": 1 }]) {
    const error = refused({ good: z.string(), "volume.grow": schema });
    assert.equal(error.data.path, "volume.grow");
    assert.match(error.message, /volume\.grow is not a Standard Schema/);
  }
});

Deno.test("names that every object has are events only if the contract declares them", async () => {
  for (const type of ["__proto__", "constructor", "toString"]) {
    const parsing = parsePayload(events({ a: z.string() }), type, "x");
    await assert.rejects(parsing, /No event .* in the contract; it has a$/);
    const declared: EventContract = { [type]: z.string() };
    assert.equal(await parsePayload(events(declared), type, "x"), "x");
  }
});

Deno.test("a payload that is null counts as missing where its schema takes nothing else", async () => {
  const contract = events({
    nothing: z.undefined(),
    perhaps: z.object({ n: z.int() }).optional(),
    standard: z.object({ n: z.int() }).default({ n: 3 }),
    nil: z.null(),
    text: z.string(),
  });
  const parsed = (type: string) => parsePayload(contract, type, null);
  assert.equal(await parsed("nothing"), undefined);
  assert.equal(await parsed("perhaps"), undefined);
  assert.deepEqual(await parsed("standard"), { n: 3 });
  assert.equal(await parsed("nil"), null);
  await assert.rejects(parsed("text"), InvalidValueError);
});

/** The fast check of messages beside the schemas. @module */
import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import type { RawMessage } from "../../src/wire/dialect.ts";
import { isPlain, schemaFor } from "../../src/wire/rpc_message_schema.ts";

/** Values around the limits of all members, and of wrong types. */
const value = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom(
      ...[undefined, null, "", "a", "x".repeat(32), "x".repeat(33)],
      ...["x".repeat(255), "x".repeat(256), "x".repeat(512), "x".repeat(513)],
      ...["ü".repeat(127), "ü".repeat(128), "€".repeat(86)],
      ...[true, false, 0, -1, 1, 1.5, -0.5, 2 ** 53, NaN, Infinity],
    ),
  },
  fc.constant({}),
  fc.constant([]),
  fc.jsonValue(),
);
const address = fc.record({
  call: fc.oneof({ weight: 3, arbitrary: fc.constant("a") }, value),
  queue: fc.oneof({ weight: 3, arbitrary: fc.constant("q") }, value),
  form: fc.constantFrom("oneMessage", "twoMessages", "perCallQueue"),
  ids: fc.constantFrom(undefined, false),
});

/** Messages as `decodeBody` makes them: most members are right, a few are any value. */
function messages(
  kind: RawMessage["kind"],
  right: Record<string, unknown>,
  names: readonly string[],
): fc.Arbitrary<RawMessage> {
  const changes = fc.array(
    fc.oneof(
      fc.tuple(fc.constantFrom(...names), value),
      fc.tuple(fc.constant("reply"), address),
    ),
    { maxLength: 3 },
  );
  const absent = Object.fromEntries(names.map((name) => [name, undefined]));
  return changes.map((changed) => ({
    ...absent,
    ...right,
    ...Object.fromEntries(
      changed.filter(([name]) => kind === "request" || name !== "reply"),
    ),
    kind,
  }));
}

const raw = fc.oneof(
  messages("request", { method: "m", args: {}, context: {} }, [
    ...["id", "method", "args", "context", "version", "namespace", "reply"],
    ...["to", "timeout", "warren", "monitor", "attempt", "deadLetterCount"],
    ...["interruptions", "expires", "deferred", "credit"],
  ]),
  messages("reply", { ending: true }, [
    ...["id", "call", "result", "failure", "ending", "sequence", "runId"],
    ...["inbox", "parsed", "heartbeat", "window"],
  ]),
);

Deno.test("a message that passes the fast check fits its schema, which would change nothing", () => {
  const passed = { request: 0, reply: 0, notification: 0 };
  fc.assert(
    fc.property(raw, (message) => {
      if (!isPlain(message)) return;
      passed[message.kind]++;
      const { success, data } = schemaFor(message).safeParse(message);
      assert.ok(success);
      assert.deepEqual(defined(data), defined(message));
    }),
    { numRuns: 20_000 },
  );
  assert.ok(passed.request > 100 && passed.reply > 100, JSON.stringify(passed));
});

Deno.test("common requests and replies pass the fast check", () => {
  const reply = { call: "a", queue: "q", form: "oneMessage", ids: undefined };
  const request = { kind: "request", method: "m", args: {}, context: {} };
  assert.ok(isPlain({ ...request, kind: "request" }));
  assert.ok(isPlain({ ...request, kind: "request", id: "a", reply }));
  assert.ok(isPlain({ kind: "reply", ending: true, result: 1, parsed: true }));
});

/** Members that are not `undefined`, which the schema leaves out. */
const defined = (message: object) => JSON.parse(JSON.stringify(message));

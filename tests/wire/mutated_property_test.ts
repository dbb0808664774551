/** Every dialect gives back what it was told, and none is hurt by what somebody changed on the way. */
import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import { InvalidValueError } from "../../src/errors.ts";
import { decode, encode } from "../../src/wire/codec.ts";
import {
  type BodyMessage,
  type Dialect,
  folsom,
  grizzly,
  oslo,
} from "../../src/wire/dialect.ts";
import { fromFailure } from "../../src/wire/failure.ts";

const utf8 = new TextEncoder();
const plain = (value: unknown) => JSON.parse(JSON.stringify(value));

const tame = (value: unknown) =>
  !/"(__proto__|toJSON)":/.test(JSON.stringify(value) ?? "");
const json = fc.jsonValue({ maxDepth: 3 }).map(plain).filter(tame);
const fields = fc.dictionary(fc.string({ minLength: 1 }), json, {
  noNullPrototype: true,
}).filter(tame);
const id = fc.uuid().map((uuid) => uuid.replaceAll("-", ""));
const text = fc.string({ minLength: 1, maxLength: 40 });
const maybe = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.option(arbitrary, { nil: undefined });

/** All that is said in a dialect, as its peers would read it. */
function spoken({ hasIds, replyForm }: Dialect): fc.Arbitrary<BodyMessage> {
  const own = hasIds ? id : fc.constant(undefined);
  const address = fc.tuple(id, text).map(([call, queue]) =>
    replyForm === "perCallQueue"
      ? { call, queue: call, form: replyForm, ids: hasIds }
      : { call, queue, form: replyForm }
  );
  const asks = {
    kind: fc.constant("request" as const),
    id: own,
    method: fc.string(),
    args: fields,
    context: fields,
    version: maybe(fc.constantFrom("1.0", "2.27")),
    namespace: maybe(text),
  };
  const says = {
    kind: fc.constant("reply" as const),
    id: own,
    call: replyForm === "perCallQueue" ? fc.constant(undefined) : id,
  };
  const failure = fc.record({
    type: fc.string(),
    module: fc.string(),
    message: fc.string(),
    data: fields,
    traceback: fc.array(fc.string()),
  });
  return fc.oneof(
    fc.record({ ...asks, warren: fc.constant(undefined) }),
    fc.record({
      ...asks,
      warren: replyForm === "perCallQueue"
        ? fc.constant(undefined)
        : fc.constantFrom(1, 2),
      reply: address,
      monitor: replyForm !== "oneMessage"
        ? fc.constant(undefined)
        : maybe(fc.nat({ max: 1_000 }).map((seconds) => seconds * 1_000)),
    }),
    fc.record({ ...says, result: json, ending: fc.boolean() }),
    fc.record({
      ...says,
      result: fc.constant(null),
      ending: fc.constant(true),
      failure,
    }),
    fc.record({
      kind: fc.constant("notification" as const),
      id: own,
      messageId: fc.uuid(),
      publisherId: fc.string(),
      eventType: text,
      priority: fc.constantFrom("INFO", "ERROR"),
      payload: json,
      timestamp: fc.string(),
      context: fields,
    }),
  );
}

/** Ours, and those of Grizzly and Havana, whose answers come in parts. */
const dialects = [folsom, grizzly, oslo].flatMap((dialect) =>
  dialect === folsom
    ? [dialect]
    : [dialect, { ...dialect, replyForm: "twoMessages" as const }]
);

for (const dialect of dialects) {
  Deno.test(`decode gives back whatever is said as ${dialect.name} in the form ${dialect.replyForm}`, () => {
    const kinds = new Set<string>();
    fc.assert(
      fc.property(spoken(dialect), (message) => {
        kinds.add(message.kind);
        const said = encode(message, dialect, undefined, dialect.replyForm);
        const decoded = decode(said.body, said.headers);
        assert.ok("message" in decoded, JSON.stringify(decoded));
        // Folsom's words are Grizzly's without ids.
        assert.equal(decoded.dialect, dialect.name === "oslo" ? oslo : grizzly);
        assert.deepEqual(plain(decoded.message), plain(message));
      }),
      { numRuns: 500 },
    );
    assert.equal(kinds.size, 3);
  });
}

const odd: readonly unknown[] = [
  ...[null, "", "x".repeat(300), 1e308, -1, 0.5, [], [[]]],
  { toString: 1, valueOf: 1, toJSON: 1 },
  { constructor: { prototype: { polluted: true } } },
  JSON.parse('{"__proto__":{"polluted":true}}'),
  { deep: [JSON.parse('{"__proto__":{"polluted":true}}')] },
  { class: { toString: 1 }, tb: [{ valueOf: 1 }], kwargs: [], message: {} },
  { "oslo.version": "2.0", "oslo.message": "{}" },
];
const hostile: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 1, arbitrary: fc.jsonValue() },
  { weight: 1, arbitrary: fc.json() },
  { weight: 4, arbitrary: fc.constantFrom(...odd) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(...odd).map((each) => JSON.stringify(each)),
  },
);
const keys = fc.oneof(
  fc.string(),
  fc.constantFrom(
    ...["__proto__", "constructor", "toString", "toJSON", "then"],
    ...["method", "args", "result", "failure", "event_type", "_timeout"],
    ...["_reply_q", "_msg_id", "_unique_id", "_context___proto__"],
    ...["oslo.version", "oslo.message"],
  ),
);

/** A change of a body: of one of its values, of one of its bytes, or of its length. */
type Change = (body: Uint8Array) => Uint8Array;
const bytes: fc.Arbitrary<Change> = fc.tuple(
  fc.nat(),
  fc.nat({ max: 3 }),
  fc.uint8Array({ maxLength: 3 }),
).map(([at, out, into]) => (body) => {
  const from = at % (body.length + 1);
  return new Uint8Array([
    ...body.slice(0, from),
    ...into,
    ...body.slice(from + out),
  ]);
});
const values: fc.Arbitrary<Change> = fc.tuple(
  fc.nat(),
  fc.option(keys, { nil: undefined, freq: 1 }),
  hostile,
  fc.boolean(),
).map(([at, key, value, deep]) => (body) =>
  changed(body, at, key, value, deep)
);

/** Puts a value in place of another, or beside it under a key of its own; within the envelope if there is one and it is meant. */
function changed(
  body: Uint8Array,
  at: number,
  key: string | undefined,
  value: unknown,
  deep: boolean,
): Uint8Array {
  let object;
  try {
    object = JSON.parse(new TextDecoder().decode(body));
  } catch {
    return body; // a change of bytes came first
  }
  if (typeof object !== "object" || object === null) return body;
  const own = Object.keys(object);
  const name = key ?? own[at % own.length] ?? "";
  const inner = object["oslo.message"];
  const put = deep && typeof inner === "string"
    ? {
      ...object,
      "oslo.message": new TextDecoder().decode(
        changed(utf8.encode(inner), at, key, value, false),
      ),
    }
    // Not assigned: `__proto__` must become a key as any other.
    : Object.fromEntries([...Object.entries(object), [name, value]]);
  return utf8.encode(JSON.stringify(put));
}

/** True where no object inside has a prototype of its own making, or a key that could make one. */
function harmless(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return true;
  if (Array.isArray(value)) return value.every(harmless);
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) return false;
  return !Object.hasOwn(value, "__proto__") &&
    Object.values(value).every(harmless);
}

const tags = fc.dictionary(
  fc.constantFrom(
    ...["warren", "warren-timeout", "warren-sequence", "warren-inbox"],
    ...["warren-beat", "warren-credit", "warren-run", "warren-attempt"],
  ),
  fc.oneof(fc.string(), fc.constantFrom("1", "true", "1e400", "-1"), hostile),
  { maxKeys: 2 },
);

Deno.test("what was changed on the way is refused in a few words, or is a message that harms nobody", () => {
  const before = Reflect.ownKeys(Object.prototype);
  const seen = { accepted: 0, refused: 0 };
  const said = fc.constantFrom(...dialects).chain((dialect) =>
    spoken(dialect).map((message) =>
      encode(message, dialect, undefined, dialect.replyForm)
    )
  );
  const changes = fc.array(fc.oneof(bytes, values), {
    minLength: 1,
    maxLength: 3,
  });
  fc.assert(
    fc.property(said, changes, tags, ({ body, headers }, changes, more) => {
      const mutated = changes.reduce((each, change) => change(each), body);
      const decoded = decode(mutated, { ...headers, ...more });
      if ("error" in decoded) {
        seen.refused++;
        const { reason } = decoded.error;
        assert.ok(reason.length > 0 && reason.length < 200, reason);
        return;
      }
      seen.accepted++;
      const { message, dialect } = decoded;
      assert.ok(harmless(message), JSON.stringify(message));
      assert.notEqual(message.kind, "control");
      if (message.kind === "reply" && message.failure) {
        assert.ok(fromFailure(message.failure, {}) instanceof Error);
      }
      try {
        encode(message as BodyMessage, dialect);
      } catch (error) {
        assert.ok(error instanceof InvalidValueError, `${error}`);
      }
    }),
    { numRuns: 4_000 },
  );
  assert.ok(Math.min(seen.accepted, seen.refused) > 500, Deno.inspect(seen));
  assert.deepEqual(Reflect.ownKeys(Object.prototype), before);
});

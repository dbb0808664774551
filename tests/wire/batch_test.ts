/** Several answers in one message, and what is no batch. */
import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import {
  batch,
  defaultLimits,
  isBatch,
  partsOf,
} from "../../src/wire/codec.ts";

const texts = fc.string({ unit: "binary", maxLength: 40 });
const part = fc.record({
  body: fc.uint8Array({ minLength: 1, maxLength: 50 }),
  headers: fc.dictionary(
    texts.filter((name) => !/^__proto__$|\\/.test(name)),
    texts,
    { noNullPrototype: true },
  ),
  correlationId: texts,
});
const plain = ({ body, ...rest }: { body: Uint8Array }) => ({
  body: [...body],
  ...rest,
});

Deno.test("a batch gives back what was put into it, whatever is in the bodies", () => {
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 20 }), (parts) => {
      const { body, headers } = batch(parts);
      assert.equal(headers["warren-batch"], `${parts.length}`);
      assert.ok(isBatch(headers));
      const found = partsOf(body, defaultLimits);
      assert.deepEqual(found?.map(plain), parts.map(plain));
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("a batch that was cut, lengthened or changed is none, or holds as many bytes as it says", () => {
  const bytes = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) =>
    batch(parts).body
  );
  const changed = fc.tuple(bytes, fc.nat(), fc.integer({ min: 0, max: 255 }))
    .map(([body, at, byte]) => body.with(at % body.length, byte));
  const seen = { none: 0, some: 0 };
  fc.assert(
    fc.property(fc.oneof(changed, fc.uint8Array()), (body) => {
      const parts = partsOf(body, defaultLimits);
      seen[parts ? "some" : "none"]++;
      const { length } = body.subarray(0, body.indexOf(0x0a) + 1);
      const sum = parts?.reduce((sum, { body }) => sum + body.length, length);
      assert.ok(sum === undefined || sum === body.length);
    }),
    { numRuns: 3_000 },
  );
  assert.ok(seen.none > 100 && seen.some > 100, Deno.inspect(seen));
});

const line = (head: unknown, rest = "") =>
  new TextEncoder().encode(`${JSON.stringify(head)}\n${rest}`);

for (
  const [name, bytes] of Object.entries({
    nothing: new Uint8Array(),
    "an empty line": line(undefined).subarray(-1),
    "no line": line([]).subarray(0, 2),
    "an object": line({}),
    "a length that is no number": line([["1", "", {}]], "x"),
    "a negative length": line([[2, "", {}], [-1, "", {}]], "x"),
    "an empty body": line([[0, "", {}]]),
    "half a byte": line([[0.5, "", {}], [0.5, "", {}]], "x"),
    "a body that is cut": line([[2, "", {}]], "x"),
    "something behind the last": line([[1, "", {}]], "xy"),
    "headers that are none": line([[1, "", null]], "x"),
    "no correlation id": line([[1, null, {}]], "x"),
    "a prototype": new TextEncoder().encode('[[1,"",{"__proto__":{}}]]\nx'),
    "more answers than values may be": line(
      Array.from({ length: 40_000 }, () => [1, "", {}]),
      "x".repeat(40_000),
    ),
  })
) {
  Deno.test(`no batch: ${name}`, () => {
    assert.equal(partsOf(bytes, defaultLimits), undefined);
  });
}

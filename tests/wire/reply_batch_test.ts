/** Several answers in one message, and what is no batch. */
import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import {
  type BatchEntry,
  decodeBatch,
  isBatch,
  ReplyBatch,
} from "../../src/wire/reply_batch.ts";
import { versionOf } from "../../src/wire/headers.ts";

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
const batch = (parts: readonly BatchEntry[]): BatchEntry => {
  const made = new ReplyBatch();
  for (const part of parts) assert.ok(made.add(part, Infinity));
  return made.encoded;
};
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
      const found = decodeBatch({ body, headers });
      assert.deepEqual(found?.map(plain), parts.map(plain));
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("a batch that was cut, lengthened or changed is none, or holds as many bytes as it says", () => {
  const parts = fc.array(part, { minLength: 1, maxLength: 5 });
  const byte = fc.integer({ min: 0, max: 255 });
  const change = (from: (body: Uint8Array) => number) =>
    fc.tuple(parts, fc.nat(), byte, fc.nat({ max: 2 }))
      .map(([parts, where, byte, less]) => {
        const { body, headers } = batch(parts);
        const start = from(body);
        const at = start + where % (body.length - start);
        const rest = body.subarray(at + less); // less: 0 lengthens it
        const bytes = [...body.subarray(0, at), byte, ...rest];
        return { body: new Uint8Array(bytes), headers };
      });
  const anywhere = change(() => 0);
  const inBodies = change((body) => body.indexOf(0x0a) + 1);
  const junk = fc.uint8Array().map((body) => ({
    body,
    headers: { "warren-batch": "1" },
  }));
  const seen = { none: 0, some: 0 };
  fc.assert(
    fc.property(fc.oneof(anywhere, inBodies, junk), ({ body, headers }) => {
      const parts = decodeBatch({ body, headers });
      seen[parts ? "some" : "none"]++;
      const { length } = body.subarray(0, body.indexOf(0x0a) + 1);
      const sum = parts?.reduce((sum, { body }) => sum + body.length, length);
      assert.ok(sum === undefined || sum === body.length);
    }),
    { numRuns: 3_000 },
  );
  assert.ok(seen.none > 100 && seen.some > 100, Deno.inspect(seen));
});

Deno.test("an item that follows another of its stream has no headers of its own in a batch of version 3", () => {
  const body = new Uint8Array([1]);
  const item = (sequence: string, more = {}, correlationId = "c") => ({
    ...{ body, correlationId },
    headers: { "warren-run": "r", "warren-sequence": sequence, ...more },
  });
  const items = [
    ...[item("1"), item("2"), item("3"), item("5"), item("6", {}, "d")],
    ...[item("7", {}, "d"), item("8", { "warren-window": "9" }, "d")],
    ...[item("9", { "warren-run": "s" }, "d"), item("10", { x: "" }, "d")],
    { body, headers: {}, correlationId: "d" },
    { body, headers: {}, correlationId: "d" },
  ];
  const lengths = (version?: number) => {
    const made = new ReplyBatch();
    for (const each of items) made.add(each, Infinity, version);
    const { encoded } = made;
    assert.deepEqual(decodeBatch(encoded)?.map(plain), items.map(plain));
    const [line = ""] = new TextDecoder().decode(encoded.body).split("\n", 1);
    return JSON.parse(line).map(({ length }: unknown[]) => length);
  };
  assert.deepEqual(lengths(3), [3, 1, 1, 3, 3, 1, 3, 3, 3, 3, 3]);
  assert.deepEqual(lengths(), Array(11).fill(3));
});

const line = (head: unknown, rest = "") =>
  new TextEncoder().encode(`${JSON.stringify(head)}\n${rest}`);
const many = (count: number) =>
  line(Array(count).fill([1, "", {}]), "x".repeat(count));

for (
  const [name, answers, body] of [
    ["nothing", 0, new Uint8Array()],
    ["an empty line", 0, line([]).subarray(-1)],
    ["no line", 0, line([]).subarray(0, 2)],
    ["no answers", 0, line([])],
    ["an object", 0, line({})],
    ["a length that is no number", 1, line([["1", "", {}]], "x")],
    ["a negative length", 2, line([[2, "", {}], [-1, "", {}]], "x")],
    ["an empty body", 1, line([[0, "", {}]])],
    ["half a byte", 2, line([[0.5, "", {}], [0.5, "", {}]], "x")],
    ["a body that is cut", 1, line([[2, "", {}]], "x")],
    ["something behind the last", 1, line([[1, "", {}]], "xy")],
    ["headers that are none", 1, line([[1, "", null]], "x")],
    ["no correlation id", 1, line([[1, null, {}]], "x")],
    ["another number of answers", 2, line([[1, "", {}]], "x")],
    ["a control", 1, line([[2, "", { "warren-control": "cancel" }]], "{}")],
    [
      "a prototype",
      1,
      new TextEncoder().encode('[[1,"",{"__proto__":{}}]]\nx'),
    ],
    ["a first item without headers", 1, line([[1]], "x")],
    ["an item after no item", 2, line([[1, "", {}], [1]], "xx")],
    [
      "an item after an item without number",
      2,
      line([[1, "", { "warren-sequence": "x" }], [1]], "xx"),
    ],
    ["four properties", 1, line([[1, "", {}, 1]], "x")],
    ["too many answers", 257, many(257)],
    ["too many bytes", 1, line([[65_536, "", {}]], "x".repeat(65_536))],
  ] as const
) {
  Deno.test(`no batch: ${name}`, () => {
    const headers = { "warren-batch": `${answers}` };
    assert.ok(decodeBatch({ body, headers }) === undefined);
  });
}

Deno.test("a batch has as many answers as it may have", () => {
  const headers = { "warren-batch": "256" };
  assert.equal(decodeBatch({ body: many(256), headers })?.length, 256);
  const batch = new ReplyBatch();
  const part = { body: new Uint8Array(1), headers: {} };
  for (let n = 0; n < 256; n++) assert.ok(batch.add(part, Infinity));
  assert.ok(!batch.add(part, Infinity));
  assert.equal(decodeBatch(batch.encoded)?.length, 256);
});

for (
  const [said, version] of [
    ...[["1", 1], ["2", 2], [2, 2], ["3", 3], ["x", 1], [{}, 1], ["0", 1]],
    ...[["-7", 1], [-7, 1], ["1e300", 1], ["1.5", 1], [true, 1], [null, 1]],
  ]
) {
  Deno.test(`a peer that says version ${Deno.inspect(said)} understands ${version}`, () => {
    assert.equal(versionOf({ warren: said }), version);
  });
}

Deno.test("a peer that says no version is not Warren", () => {
  assert.equal(versionOf({}), undefined);
});

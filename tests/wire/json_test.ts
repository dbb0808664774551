/** JSON: what is refused before it is parsed, and what is refused before it is sent. */
import assert from "node:assert/strict";
import { InvalidValueError } from "../../src/errors.ts";
import { assertJson, defaultLimits, parseJson } from "../../src/wire/json.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const parsed = (text: string, limits = {}) =>
  parseJson(bytes(text), { ...defaultLimits, ...limits });
const nested = (depth: number, open = "[", close = "]") =>
  open.repeat(depth) + close.repeat(depth);

Deno.test("parseJson returns the value of good JSON", () => {
  assert.deepEqual(parsed(' {"a": [1, "é", null, true]}\n'), {
    value: { a: [1, "é", null, true] },
  });
});

Deno.test.each([
  ["one byte too many", `"${"x".repeat(99)}"`, { bytes: 100 }, /101 bytes/],
  ["65 arrays", nested(65), {}, /deeper than 64/],
  [
    "65 objects",
    `${'{"a":'.repeat(65)}1${"}".repeat(65)}`,
    {},
    /deeper than 64/,
  ],
  ["a million brackets", "[".repeat(1_000_000), {}, /deeper than 64/],
  ["a wide array", `[${"0,".repeat(50)}0]`, { nodes: 50 }, /more than 50/],
  ["many empty objects", `[${"{},".repeat(50_000)}0]`, {}, /more than 100000/],
  ["no JSON", "hello", {}, /not JSON/],
  ["nothing", "", {}, /not JSON/],
  ["two values", "{}{}", {}, /not JSON/],
  ["a bare closing bracket", "]]]]", {}, /not JSON/],
  ["an open string", '"abc\\', {}, /not JSON/],
  ["a plain __proto__", '{"__proto__":{"a":1}}', {}, /__proto__/],
  ["a deep __proto__", '[{"a":[{"__proto__":1}]}]', {}, /__proto__/],
  ["an escaped __proto__", '{"\\u005f_proto__":{"a":1}}', {}, /__proto__/],
  [
    "a wholly escaped one",
    '{"\\u005f\\u005fproto\\u005f\\u005f":1}',
    {},
    /__proto__/,
  ],
])("parseJson refuses %s", (_name, text, limits, reason) => {
  const result = parsed(text, limits);
  assert.ok("rejected" in result);
  assert.match(result.rejected, reason);
  assert.ok(result.rejected.length < 100, "the reason does not quote the text");
});

Deno.test.each([
  ["as many bytes as allowed", `"${"x".repeat(98)}"`, { bytes: 100 }],
  ["64 levels", nested(64), {}],
  ["brackets inside strings", JSON.stringify("[{".repeat(500)), {}],
  ["escaped quotes before brackets", JSON.stringify('\\"[[[['.repeat(99)), {}],
  ["a string that ends in a backslash", `["\\\\",${nested(63)}]`, {}],
  ["commas inside strings", JSON.stringify(",".repeat(200)), { nodes: 10 }],
  ["__proto__ as a value", '["__proto__", "\\u005f_proto__"]', {}],
  ["keys that merely contain it", '{"x__proto__":1,"__proto__x":2}', {}],
  ["a key constructor", '{"constructor":{"prototype":{"a":1}}}', {}],
])("parseJson accepts %s", (_name, text, limits) => {
  assert.deepEqual(parsed(text, limits), { value: JSON.parse(text) });
});

Deno.test.each([
  ["a cut sequence", [0x22, 0xc3, 0x22]],
  ["an overlong slash", [0x22, 0xc0, 0xaf, 0x22]],
  ["a surrogate", [0x22, 0xed, 0xa0, 0x80, 0x22]],
  ["UTF-16", [0x22, 0x00, 0x61, 0x00, 0x22, 0x00]],
])("parseJson refuses bytes that are not UTF-8: %s", (_name, raw) => {
  const result = parseJson(Uint8Array.from(raw), defaultLimits);
  assert.deepEqual(result, { rejected: "not JSON in UTF-8" });
});

class Point {
  x = 1;
}
const cycle: Record<string, unknown> = {};
cycle.self = cycle;
const listWithToJson = Object.assign([1], { toJSON: (): number => 2 });

Deno.test.each([
  ["undefined alone", undefined, ""],
  ["undefined in an array", { a: [1, undefined] }, "a[1]"],
  ["a hole in an array", { a: new Array(1) }, "a[0]"],
  ["NaN", { a: { b: NaN } }, "a.b"],
  ["Infinity", [Infinity], "[0]"],
  ["a Date", { "odd key": new Date(0) }, '["odd key"]'],
  ["a Map", { m: new Map() }, "m"],
  ["a Set", { m: new Set() }, "m"],
  ["bytes", { m: new Uint8Array(1) }, "m"],
  ["a class instance", { p: [new Point()] }, "p[0]"],
  ["a bigint", { n: 1n }, "n"],
  ["a symbol", { n: Symbol("s") }, "n"],
  ["a function", { n: () => 1 }, "n"],
  ["toJSON", { o: { toJSON: (): number => 1 } }, "o"],
  ["toJSON of an array", { o: listWithToJson }, "o"],
  ["__proto__", { o: JSON.parse('{"__proto__":1}') }, "o"],
])("checkJson refuses %s and names its path", (_name, value, path) => {
  assert.throws(() => assertJson(value), (error) => {
    assert.ok(error instanceof InvalidValueError);
    assert.equal(error.data.path, path);
    assert.ok(error.message.startsWith(path || "The value"));
    return true;
  });
});

Deno.test("checkJson refuses a cycle, and what is nested too deep to be received", () => {
  assert.throws(() => assertJson(cycle), InvalidValueError);
  const deep = (levels: number): unknown => levels ? [deep(levels - 1)] : 1;
  assert.throws(() => assertJson(deep(63)), InvalidValueError);
  assert.doesNotThrow(() => assertJson(deep(62)));
});

Deno.test("checkJson accepts what JSON carries, and absent keys", () => {
  const bare = Object.assign(Object.create(null), { a: 1 });
  assert.doesNotThrow(() =>
    assertJson({ a: [null, true, "x", -1.5, { b: undefined }], bare })
  );
});

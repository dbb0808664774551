/** Field tables: their bytes, and all their values both ways. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "npm:fast-check@^4.10.2";
import { FieldValue, type Table } from "../../../src/amqp/mod.ts";
import {
  FieldReader,
  TABLE_LIMITS,
} from "../../../src/amqp/codec/field_reader.ts";
import { FieldWriter } from "../../../src/amqp/codec/field_writer.ts";

function encode(table: Table): Buffer {
  const fields = new FieldWriter();
  fields.table(table);
  return Buffer.from(fields.take());
}

const decode = (bytes: Buffer) => new FieldReader().from(bytes, 0).table();

const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");

/** Bytes of a table whose only field `a` has these bytes: a type and a value. */
const field = (value: string) => {
  const bytes = Buffer.concat([hex("01 61"), hex(value)]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
};

/** Each type as RabbitMQ writes it: its bytes, what it is encoded from, and what it is decoded to. */
const VECTORS: readonly (readonly [string, unknown, unknown])[] = [
  ["53 00000002 c3a9", "é", "é"],
  ["53 00000000", "", ""],
  ["74 01", true, true],
  ["74 00", false, false],
  ["56", null, null],
  ["49 fffffffe", -2, -2],
  ["49 7fffffff", 2 ** 31 - 1, 2 ** 31 - 1],
  ["6c 0000000080000000", 2 ** 31, 2 ** 31],
  ["6c ffffffffffffffff", -1n, -1],
  ["6c 001fffffffffffff", Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
  ["64 3ff8000000000000", 1.5, 1.5],
  ["62 80", new FieldValue("int8", -128), -128],
  ["42 ff", new FieldValue("uint8", 255), 255],
  ["73 8000", new FieldValue("int16", -32_768), -32_768],
  ["75 ffff", new FieldValue("uint16", 65_535), 65_535],
  ["49 80000000", new FieldValue("int32", -(2 ** 31)), -(2 ** 31)],
  ["69 ffffffff", new FieldValue("uint32", 2 ** 32 - 1), 2 ** 32 - 1],
  ["6c fffffffffffffffe", new FieldValue("int64", -2), -2],
  ["66 3fc00000", new FieldValue("float", 1.5), 1.5],
  ["64 3ff8000000000000", new FieldValue("double", 1.5), 1.5],
  ["54 0000000000000007", new FieldValue("timestamp", 7), 7],
  ["54 0000000000000007", new Date(7_999), 7],
  ["44 02 00000139", new FieldValue("decimal", 313, 2), {
    places: 2,
    digits: 313,
  }],
  ["78 00000002 00ff", new Uint8Array([0, 255]), Buffer.from([0, 255])],
  ["41 00000005 49 00000001", [1], [1]],
  ["41 00000000", [], []],
  ["46 00000000", {}, {}],
  ["46 00000004 01 62 74 01", { b: true }, { b: true }],
];

Deno.test("each type of a value has the bytes that RabbitMQ writes", () => {
  for (const [bytes, value, decoded] of VECTORS) {
    const expected = field(bytes);
    assert.equal(
      encode({ a: value }).toString("hex"),
      expected.toString("hex"),
    );
    assert.deepEqual(decode(expected), { a: decoded });
  }
});

Deno.test("types that RabbitMQ writes and this client does not are decoded", () => {
  assert.deepEqual(decode(field("4c fffffffffffffffe")), { a: -2 });
});

const short = fc.string({ unit: "binary", maxLength: 60 })
  .filter((text) => Buffer.byteLength(text) <= 255 && text.isWellFormed());
const name = fc.oneof(
  { weight: 8, arbitrary: short },
  fc.constantFrom("__proto__", "constructor", "toString", "", "\ufeffx"),
);
/** A value, and what it is decoded to. */
interface Sample {
  readonly given: unknown;
  readonly seen: unknown;
}
const itself = (arbitrary: fc.Arbitrary<unknown>): fc.Arbitrary<Sample> =>
  arbitrary.map((value) => ({ given: value, seen: value }));
const typed = (
  type: FieldValue["type"],
  value: fc.Arbitrary<number>,
): fc.Arbitrary<Sample> =>
  value.map((number) => ({
    given: new FieldValue(type, number),
    seen: number,
  }));

/** An object whose field `__proto__` is a field. */
function object(fields: readonly (readonly [string, unknown])[]): object {
  const made = {};
  for (const [key, value] of fields) {
    Object.defineProperty(made, key, {
      value,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
  return made;
}

const fields = (value: fc.Arbitrary<Sample>): fc.Arbitrary<Sample> =>
  fc.uniqueArray(fc.tuple(name, value), {
    selector: ([key]) => key,
    maxLength: 5,
  }).map((entries) => ({
    given: object(entries.map(([key, { given }]) => [key, given])),
    seen: object(entries.map(([key, { seen }]) => [key, seen])),
  }));

const { value: sample } = fc.letrec<{ value: Sample }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    itself(short),
    itself(fc.string({ minLength: 250, maxLength: 600 })),
    itself(fc.boolean()),
    itself(fc.constant(null)),
    itself(fc.maxSafeInteger()),
    itself(fc.double({ noNaN: true, noDefaultInfinity: true })).map(
      ({ given }) => ({ given, seen: Object.is(given, -0) ? 0 : given }),
    ),
    typed("int8", fc.integer({ min: -128, max: 127 })),
    typed("uint8", fc.nat(255)),
    typed("int16", fc.integer({ min: -32_768, max: 32_767 })),
    typed("uint16", fc.nat(65_535)),
    typed("int32", fc.integer()),
    typed("uint32", fc.nat(2 ** 32 - 1)),
    typed("int64", fc.maxSafeInteger()),
    typed("timestamp", fc.maxSafeNat()),
    typed("float", fc.float({ noNaN: true, noDefaultInfinity: true })),
    typed("double", fc.double({ noNaN: true, noDefaultInfinity: true })),
    fc.tuple(fc.nat(2 ** 32 - 1), fc.nat(255)).map(([digits, places]) => ({
      given: new FieldValue("decimal", digits, places),
      seen: { places, digits },
    })),
    fc.date({ min: new Date(0), noInvalidDate: true }).map((date) => ({
      given: date,
      seen: Math.floor(date.getTime() / 1_000),
    })),
    fc.uint8Array({ maxLength: 300 }).map((bytes) => ({
      given: bytes,
      seen: Buffer.from(bytes),
    })),
    fc.array(tie("value"), { maxLength: 5 }).map((values) => ({
      given: values.map(({ given }) => given),
      seen: values.map(({ seen }) => seen),
    })),
    fields(tie("value")),
  ),
}));

Deno.test("any table is decoded to what was encoded", () => {
  fc.assert(
    fc.property(fields(sample), ({ given, seen }) => {
      const bytes = encode(given as Table);
      assert.equal(bytes.readUInt32BE(), bytes.length - 4);
      const decoded = decode(bytes);
      assert.deepEqual(decoded, seen);
      assert.equal(Object.getPrototypeOf(decoded), Object.prototype);
    }),
    { numRuns: 600 },
  );
});

Deno.test("what follows a table is read where the table ends", () => {
  const after = Buffer.concat([encode({ a: [1, { b: 2 }] }), hex("0007")]);
  const fields = new FieldReader().from(after, 0);
  fields.table();
  assert.equal(fields.u16(), 7);
});

Deno.test("a name has up to 255 bytes", () => {
  const most = "é".repeat(127) + "x";
  assert.deepEqual(decode(encode({ [most]: 1 })), { [most]: 1 });
  for (const name of ["x".repeat(256), "é".repeat(128), "€".repeat(86)]) {
    assert.throws(() => encode({ [name]: 1 }), TypeError);
  }
});

Deno.test("a field that is undefined is omitted; an item that is undefined is null", () => {
  assert.deepEqual(decode(encode({ a: undefined, b: [undefined, 1] })), {
    b: [null, 1],
  });
});

/** A table that is nested so often. */
const nested = (depth: number): Table =>
  depth === 1 ? {} : { a: nested(depth - 1) };

Deno.test("a table may be nested 32 times and have 4096 values", () => {
  const { depth, values } = TABLE_LIMITS;
  assert.deepEqual(decode(encode(nested(depth))), nested(depth));
  const full = { a: new Array(values - 1).fill(true) };
  assert.deepEqual(decode(encode(full)), full);
  const many = encode({ a: new Array(values).fill(true) });
  assert.throws(() => decode(many), /more than 4096 values/);
  const deep = hex("0000000a 0161 46 00000003 0162 56");
  assert.deepEqual(decode(deep), { a: { b: null } });
  let bytes = Buffer.from(encode({}));
  for (let n = 0; n < depth; n++) {
    const inner = Buffer.concat([hex("01 61 46"), bytes]);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(inner.length);
    bytes = Buffer.concat([length, inner]);
  }
  assert.throws(() => decode(bytes), /deeper than 32/);
});

/** Values that AMQP has no type for, or that the type does not hold. */
const UNENCODABLE: readonly unknown[] = [
  () => 1,
  Symbol("a"),
  2n ** 63n,
  NaN,
  Infinity,
  new Date(NaN),
  new Date(-1),
  new FieldValue("int8", 128),
  new FieldValue("uint8", -1),
  new FieldValue("int16", 32_768),
  new FieldValue("uint16", 65_536),
  new FieldValue("int32", 2 ** 31),
  new FieldValue("uint32", -1),
  new FieldValue("uint32", 2 ** 32),
  new FieldValue("int64", 1.5),
  new FieldValue("int64", 2 ** 63),
  new FieldValue("timestamp", -1),
  new FieldValue("float", 1e300),
  new FieldValue("double", -Infinity),
  new FieldValue("decimal", 1, 256),
  new FieldValue("decimal", 1.5, 1),
];

Deno.test("a value that cannot be encoded as it is throws a TypeError", () => {
  for (const value of UNENCODABLE) {
    assert.throws(() => encode({ a: value }), TypeError, String(value));
  }
  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;
  assert.throws(() => encode(cyclic), TypeError);
  assert.throws(() => encode(nested(TABLE_LIMITS.depth + 1)), TypeError);
});

Deno.test("a table with any wrong byte is decoded, or throws an error of its own", () => {
  const bytes = encode({
    a: [1, "text", { b: new Uint8Array(3) }],
    c: new FieldValue("decimal", 1, 2),
    d: 1.5,
  });
  for (let at = 0; at < bytes.length; at++) {
    for (const byte of [0, 1, 0x7f, 0x80, 0xff, 0x46, 0x41, 0x53]) {
      const wrong = Buffer.from(bytes);
      wrong[at] = byte;
      try {
        decode(wrong);
      } catch (error) {
        const known = error instanceof RangeError || error instanceof TypeError;
        assert.ok(known, `${error}`);
        assert.match((error as Error).message, /^it (ends|has|is) /);
      }
    }
  }
});

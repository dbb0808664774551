/** Fields of a frame as they are read: texts and their cache, the types of values, limits, and bytes that are no fields. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "npm:fast-check@^4.10.2";
import {
  FieldReader,
  TABLE_LIMITS,
} from "../../../src/amqp/codec/field_reader.ts";

const sample = fc.string({ unit: "grapheme", maxLength: 12 });
const raw = fc.oneof(
  sample.map((text) => Buffer.from(text)),
  sample.map((text) => Buffer.from(text, "latin1")),
  fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes)),
);

const shortString = (bytes: Buffer) => Buffer.from([bytes.length, ...bytes]);

Deno.test("a name is what its own bytes say, whatever was read before", () => {
  const fields = new FieldReader();
  const read = (name: Buffer) => fields.from(shortString(name), 0).name();
  fc.assert(
    fc.property(fc.array(raw, { minLength: 1, maxLength: 40 }), (names) => {
      for (const name of names) assert.equal(read(name), name.toString());
    }),
    { numRuns: 1_000 },
  );
  // The bytes of the second are the code units of the first, and both select the same slot of the cache.
  const known = Buffer.from("óúllfzoq");
  for (const name of [known, Buffer.from("óúllfzoq", "latin1")]) {
    assert.equal(read(name), name.toString());
  }
});

const name = (text: string) => shortString(Buffer.from(text));

/** Bytes behind their length. */
function sized(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

/** A field table of one value. */
const tableOf = (value: Buffer) => sized(Buffer.concat([name("a"), value]));

const array = (inner: Buffer) =>
  Buffer.concat([Buffer.from("A"), sized(inner)]);

/** Arrays, one in the other. */
function arrays(depth: number): Buffer {
  let value: Buffer = Buffer.from("V");
  for (let n = 0; n < depth; n++) value = array(value);
  return value;
}

const readTable = (table: Buffer) => new FieldReader().from(table, 0).table();

/** Letters of the types that RabbitMQ writes or reads. */
const TYPES = "SIDTFldbfsVxAtBuiL";

Deno.test("all types of values of RabbitMQ are read, and no other", () => {
  const eight = Buffer.alloc(8, 0xff);
  for (const type of ["l", "L"]) { // RabbitMQ reads both of them as signed
    const table = tableOf(Buffer.concat([Buffer.from(type), eight]));
    assert.deepEqual(readTable(table), { a: -1 });
  }
  const zeros = Buffer.alloc(8);
  for (let type = 0; type < 256; type++) {
    const read = (rest: Buffer) =>
      readTable(tableOf(Buffer.concat([Buffer.from([type]), rest])));
    if (TYPES.includes(String.fromCharCode(type))) {
      assert.doesNotThrow(() => read(zeros.subarray(0, sizeOf(type))));
    } else {
      assert.throws(() => read(eight), {
        name: "TypeError",
        message: `it has a value of the unknown type ${type}`,
      });
    }
  }
});

/** Number of bytes after the type of a value that is zero, or empty. */
function sizeOf(type: number): number {
  const sizes: Readonly<Record<string, number>> = {
    V: 0,
    t: 1,
    b: 1,
    B: 1,
    s: 2,
    u: 2,
    D: 5,
    T: 8,
    l: 8,
    L: 8,
    d: 8,
  };
  return sizes[String.fromCharCode(type)] ?? 4;
}

Deno.test("a table is read up to its limits of depth and values", () => {
  const { depth, values } = TABLE_LIMITS;
  assert.ok("a" in readTable(tableOf(arrays(depth - 1))));
  for (const deeper of [depth, 4_196]) {
    assert.throws(
      () => readTable(tableOf(arrays(deeper))),
      /nested deeper than 32/,
    );
  }
  assert.ok("a" in readTable(tableOf(array(Buffer.alloc(values - 1, "V")))));
  assert.throws(
    () => readTable(tableOf(array(Buffer.alloc(values, "V")))),
    /more than 4096 values/,
  );
});

/** Bytes that often begin like fields. */
const fieldBytes = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.constantFrom(...TYPES, "?").map((type) => Buffer.from(type)),
  fc.nat(60).map((length) => Buffer.from([0, 0, 0, length])),
  fc.constantFrom("a", "__proto__", "").map(name),
);

Deno.test("whatever is in a table, what follows it is read, and nothing but an error of a few words is thrown", () => {
  const fields = new FieldReader();
  fc.assert(
    fc.property(
      fc.array(fieldBytes, { maxLength: 12 }),
      fc.option(fc.nat(200)),
      (parts, length) => {
        const table = sized(Buffer.concat(parts));
        if (length !== null) table.writeUInt32BE(length);
        const frame = Buffer.concat([table, name("behind")]);
        fields.from(frame, 0, frame.length);
        const fits = table.readUInt32BE() === table.length - 4;
        try {
          fields.table();
        } catch (error) {
          assert.match(`${error}`, /^(Range|Type)Error: it .{1,60}$/);
        }
        if (fits) assert.equal(fields.name(), "behind");
      },
    ),
    { numRuns: 5_000 },
  );
});

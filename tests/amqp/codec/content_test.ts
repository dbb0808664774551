/** Contents: all properties, both ways, and properties that cannot be read. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "npm:fast-check@^4.10.2";
import type { Content, Properties } from "../../../src/amqp/mod.ts";
import {
  decodeProperties,
  encodeHeader,
  type MutableProperties,
} from "../../../src/amqp/codec/content.ts";
import { FieldReader } from "../../../src/amqp/codec/field_reader.ts";
import { FieldWriter } from "../../../src/amqp/codec/field_writer.ts";

function encode(content: Content): Buffer {
  const fields = new FieldWriter();
  encodeHeader(fields, content);
  return Buffer.from(fields.take());
}

function decode(bytes: Buffer) {
  const properties: MutableProperties = {};
  const fields = new FieldReader().from(bytes, 12);
  return { unreadable: decodeProperties(fields, properties), properties };
}

const empty = new Uint8Array();
const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");

/** All properties. */
const ALL: Required<Properties> = {
  contentType: "a",
  contentEncoding: "b",
  headers: { h: true },
  persistent: true,
  priority: 9,
  correlationId: "c",
  replyTo: "d",
  expiration: 60,
  messageId: "e",
  timestamp: 2 ** 32 + 1,
  type: "f",
  userId: "g",
  appId: "h",
  clusterId: "i",
};

Deno.test("a header has the class, the size of the body, flags and the properties in order", () => {
  const bytes = encode({ ...ALL, body: new Uint8Array(258) });
  const expected = hex(
    "003c 0000 0000000000000102 fffc 0161 0162 00000004 0168 7401 02 09 0163" +
      "0164 02 3630 0165 0000000100000001 0166 0167 0168 0169",
  );
  assert.equal(bytes.toString("hex"), expected.toString("hex"));
});

const text = fc.string({ unit: "binary", maxLength: 80 })
  .filter((text) => Buffer.byteLength(text) <= 255 && text.isWellFormed());
const properties = fc.record({
  contentType: text,
  contentEncoding: text,
  headers: fc.dictionary(text, text, { noNullPrototype: true }),
  persistent: fc.boolean(),
  priority: fc.nat(255),
  correlationId: text,
  replyTo: text,
  expiration: fc.nat(2 ** 32 - 1),
  messageId: text,
  timestamp: fc.maxSafeNat(),
  type: text,
  userId: text,
  appId: text,
  clusterId: text,
}, { requiredKeys: [], noNullPrototype: true });

Deno.test("any properties are decoded to what was encoded", () => {
  fc.assert(
    fc.property(properties, fc.nat(5_000), (given, size) => {
      const bytes = encode({ ...given, body: new Uint8Array(size) });
      assert.equal(bytes.readBigUInt64BE(4), BigInt(size));
      assert.deepEqual(decode(bytes), {
        unreadable: undefined,
        properties: given,
      });
    }),
    { numRuns: 500 },
  );
});

Deno.test("a property that is undefined is absent; false is not", () => {
  const bytes = encode({ type: undefined, persistent: false, body: empty });
  assert.deepEqual(decode(bytes).properties, { persistent: false });
});

Deno.test("each text has up to 255 bytes", () => {
  for (const [name, value] of Object.entries(ALL)) {
    if (typeof value !== "string") continue;
    const most = "x".repeat(253) + "é";
    const { properties } = decode(encode({ [name]: most, body: empty }));
    assert.deepEqual(properties, { [name]: most });
    const content = { [name]: most + "x", body: empty };
    assert.throws(() => encode(content), new RegExp(`${name} has 256 bytes`));
  }
});

Deno.test("a number that a property does not hold throws a TypeError", () => {
  const wrong: Properties[] = [
    ...[-1, 256, 1.5, NaN].map((priority) => ({ priority })),
    ...[-1, 2 ** 32, 1.5, NaN].map((expiration) => ({ expiration })),
    ...[-1, 2 ** 53, 1.5, NaN].map((timestamp) => ({ timestamp })),
  ];
  for (const properties of wrong) {
    const content = { ...properties, body: empty };
    assert.throws(() => encode(content), TypeError, JSON.stringify(properties));
  }
});

Deno.test("headers that cannot be decoded are missing; the properties after them are not", () => {
  const bytes = encode({ ...ALL, headers: { h: true }, body: empty });
  const at = bytes.indexOf(hex("0168 74"));
  bytes[at + 2] = 0x7a;
  const { unreadable, properties } = decode(bytes);
  assert.match(unreadable ?? "", /^its table of headers: .*unknown type 122/);
  const { headers: _, ...others } = ALL;
  assert.deepEqual(properties, others);
});

Deno.test("headers that are longer than their frame are reported, and read no further", () => {
  const bytes = encode({ headers: {}, messageId: "e", body: empty });
  bytes.writeUInt32BE(0xffff_ffff, 14);
  const { unreadable, properties } = decode(bytes);
  assert.match(unreadable ?? "", /^its table of headers: it ends too early/);
  assert.deepEqual(properties, {});
});

Deno.test("properties that are cut short, or have flags of a later AMQP, are reported", () => {
  const bytes = encode({ ...ALL, body: empty });
  for (let end = 12; end < bytes.length; end++) {
    const { unreadable } = decode(bytes.subarray(0, end));
    assert.match(unreadable ?? "", /^its (properties|table of headers): /);
  }
  bytes[13]! |= 1;
  assert.match(decode(bytes).unreadable ?? "", /more than 14/);
});

Deno.test("texts that repeat are told apart, whatever was read before", () => {
  const names = ["ab", "ba", "aab", "abb", "é", "è", "\ufeff", "\ufeffa", "a"];
  for (const type of [...names, ...names, ...names.toReversed()]) {
    assert.deepEqual(decode(encode({ type, body: empty })).properties, {
      type,
    });
  }
});

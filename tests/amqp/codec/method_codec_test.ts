/** Methods: all of them, both ways. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "npm:fast-check@^4.10.2";
import { FieldReader } from "../../../src/amqp/codec/field_reader.ts";
import { FieldWriter } from "../../../src/amqp/codec/field_writer.ts";
import {
  decodeMethod,
  encodeMethod,
} from "../../../src/amqp/codec/method_codec.ts";
import type { Args, MethodName } from "../../../src/amqp/codec/method_args.ts";
import { type ArgumentType, METHODS } from "../../../src/amqp/codec/methods.ts";
import { FrameError } from "../../../src/amqp/codec/protocol.ts";

function encode<N extends MethodName>(name: N, args: Partial<Args<N>>): Buffer {
  const fields = new FieldWriter();
  encodeMethod(fields, name, args);
  return Buffer.from(fields.take());
}

const decode = (bytes: Buffer) =>
  decodeMethod(new FieldReader().from(bytes, 0));

const text = fc.string({ unit: "binary", maxLength: 80 })
  .filter((text) => Buffer.byteLength(text) <= 255 && text.isWellFormed());
const VALUES: Readonly<Record<ArgumentType, fc.Arbitrary<unknown>>> = {
  bit: fc.boolean(),
  octet: fc.nat(255),
  short: fc.nat(65_535),
  long: fc.nat(2 ** 32 - 1),
  longlong: fc.maxSafeNat(),
  shortstr: text,
  longstr: fc.string({ maxLength: 2_000 }),
  table: fc.dictionary(text, fc.oneof(text, fc.integer(), fc.boolean()), {
    noNullPrototype: true,
  }),
};

const names = Object.keys(METHODS) as MethodName[];
const typesOf = (name: MethodName) =>
  Object.entries<ArgumentType>(METHODS[name].args);
const argsOf = (name: MethodName) =>
  fc.record(
    Object.fromEntries(typesOf(name).map(([key, type]) => [key, VALUES[type]])),
    { noNullPrototype: true },
  );

Deno.test("any arguments of each method are decoded to what was encoded", () => {
  for (const name of names) {
    fc.assert(
      fc.property(argsOf(name), (args) => {
        assert.deepEqual(decode(encode(name, args)), { name, args });
      }),
      { numRuns: 40 },
    );
  }
});

const ZEROS: Readonly<Record<ArgumentType, unknown>> = {
  ...{ bit: false, octet: 0, short: 0, long: 0, longlong: 0 },
  ...{ shortstr: "", longstr: "", table: {} },
};

Deno.test("arguments that are omitted are 0, false or empty", () => {
  for (const name of names) {
    const args = typesOf(name).map(([key, type]) => [key, ZEROS[type]]);
    assert.deepEqual(decode(encode(name, {})), {
      name,
      args: Object.fromEntries(args),
    });
  }
});

Deno.test("a method that is cut short throws a RangeError, at each byte", () => {
  for (const name of names) {
    const [args] = fc.sample(argsOf(name), 1);
    const bytes = encode(name, args ?? {});
    for (let end = 0; end < bytes.length; end++) {
      assert.throws(() => decode(bytes.subarray(0, end)), RangeError);
    }
  }
});

Deno.test("methods have the bytes of the specification", () => {
  const vectors: [Buffer, string][] = [
    [
      encode("queue.declare", { queue: "q", durable: true, noWait: true }),
      "0032000a 0000 0171 12 00000000",
    ],
    [
      encode("exchange.declare", {
        exchange: "e",
        type: "topic",
        internal: true,
      }),
      "0028000a 0000 0165 05746f706963 08 00000000",
    ],
    [
      encode("basic.qos", { prefetchCount: 300, global: true }),
      "003c000a 00000000 012c 01",
    ],
    [
      encode("basic.nack", { deliveryTag: 2 ** 32, requeue: true }),
      "003c0078 0000000100000000 02",
    ],
    [
      encode("exchange.unbind-ok", {}),
      "00280033",
    ],
  ];
  for (const [bytes, expected] of vectors) {
    assert.equal(bytes.toString("hex"), expected.replaceAll(" ", ""));
  }
});

Deno.test("an unknown method throws a FrameError that names it", () => {
  const unknown = Buffer.from([0, 60, 0, 99]);
  assert.throws(() => decode(unknown), (error: Error) => {
    assert.ok(error instanceof FrameError);
    return error.message === "there is no method 60.99";
  });
});

Deno.test("an argument that its type does not hold throws a TypeError that names it", () => {
  for (const prefetchCount of [-1, 65_536, 1.5, NaN]) {
    assert.throws(
      () => encode("basic.qos", { prefetchCount }),
      /the prefetchCount is/,
    );
  }
  assert.throws(
    () => encode("basic.qos", { prefetchSize: 2 ** 32 }),
    TypeError,
  );
  assert.throws(() => encode("basic.ack", { deliveryTag: -1 }), TypeError);
  const queue = "é".repeat(128);
  assert.throws(
    () => encode("queue.declare", { queue }),
    /queue has 256 bytes/,
  );
});

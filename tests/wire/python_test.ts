/** What Python's peers write: numbers that are no JSON, failures, keys that are null or missing, compressed bodies. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { deflateSync, gzipSync } from "node:zlib";
import {
  InvalidResultError,
  InvalidValueError,
  NoSuchMethodError,
  RemoteError,
  UnsupportedVersionError,
} from "../../src/errors.ts";
import { unbzip2 } from "../../src/wire/python.ts";
import { decode, encode } from "../../src/wire/codec.ts";
import { defaultLimits, parseJson } from "../../src/wire/json.ts";
import { folsom, grizzly, oslo } from "../../src/wire/dialect.ts";
import type { Reply, ReplyForm } from "../../src/wire/rpc_message.ts";
import { fromFailure, toFailure } from "../../src/wire/failure.ts";
import { type OsloPeer, osloPeer } from "../../src/wire/oslo.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const python = { ...defaultLimits, python: true };

Deno.test.each([
  ["NaN", "NaN", null],
  ["Infinity", "[Infinity]", [null]],
  ["-Infinity", '{"a": -Infinity}', { a: null }],
  ["numbers beside them", "[NaN, -1, Infinity, -2.5]", [null, -1, null, -2.5]],
  [
    "strings that say the same",
    '["NaN", "\\"NaN", "\\\\", NaN]',
    ["NaN", '"NaN', "\\", null],
  ],
])("Python's numbers are read as null: %s", (_name, text, value) => {
  assert.deepEqual(parseJson(bytes(text), python), { value });
  assert.ok("rejected" in parseJson(bytes(text), defaultLimits));
});

Deno.test.each([
  ["a key", "{NaN: 1}"],
  ["a part of a word", "[xNaN]"],
  ["two at once", "[NaNNaN]"],
  ["a negative one", "[-NaN]"],
  ["behind a number", "[1-Infinity]"],
  ["in an open string", '["NaN'],
  ["many open strings", '"\\"'.repeat(100_000)],
])("where no value may be, they are refused: %s", (_name, text) => {
  const result = parseJson(bytes(text), python);
  assert.deepEqual(result, { rejected: "not JSON in UTF-8" });
});

/** A document as Python writes it, and what is to be read; the same each time. */
function document(random: () => number, depth: number): [string, unknown] {
  const pick = Math.floor(random() * (depth > 0 ? 9 : 7));
  if (pick < 3) {
    return [["NaN", "Infinity", "-Infinity"][pick] as string, null];
  }
  const texts = ['NaN"', "\\", 'x", -Infinity, "', "é\u2028"];
  const text = texts[Math.floor(random() * texts.length)] as string;
  if (pick < 6) return [JSON.stringify(text), text];
  if (pick === 6) return ["-1.5e3", -1_500];
  const inner = Array.from(
    { length: Math.floor(random() * 4) },
    () => document(random, depth - 1),
  );
  const list = inner.map(([said]) => said).join(", ");
  if (pick === 7) return [`[${list}]`, inner.map(([, value]) => value)];
  const said = inner.map(([said], at) => `"NaN${at}": ${said}`).join(", ");
  const value = inner.map(([, value], at) => [`NaN${at}`, value]);
  return [`{${said}}`, Object.fromEntries(value)];
}

Deno.test("whatever stands around them, only Python's numbers change", () => {
  let seed = 1;
  const random = () => (seed = seed * 48_271 % 2_147_483_647) / 2_147_483_647;
  for (let n = 0; n < 2_000; n++) {
    const [text, value] = document(random, 4);
    assert.deepEqual(parseJson(bytes(text), python), { value }, text);
  }
});

Deno.test("an event and an enveloped request with NaN are read", () => {
  const event = {
    message_id: "m",
    publisher_id: "p",
    event_type: "e",
    priority: "INFO",
    timestamp: "t",
    payload: 0,
  };
  const text = JSON.stringify(event).replace(
    '"payload":0',
    '"payload": {"load": NaN}',
  );
  const read = decode(bytes(text), {}, python);
  assert.ok("message" in read && read.message.kind === "notification");
  assert.deepEqual(read.message.payload, { load: null });
  const request = '{"method": "m", "args": {"load": Infinity}}';
  const sealed = decode(bytes(oslo.seal(request)), {}, python);
  assert.ok("message" in sealed && sealed.message.kind === "request");
  assert.deepEqual(sealed.message.args, { load: null });
});

Deno.test.each([
  ["no args", { method: "m" }],
  ["args null", { method: "m", args: null }],
  ["version null", { method: "m", args: {}, version: null }],
  ["ids null", { method: "m", _unique_id: null, _msg_id: null }],
  ["a reply queue null", { method: "m", _msg_id: "c", _reply_q: null }],
])("a request is read that has %s", (_name, body) => {
  const read = decode(bytes(JSON.stringify(body)), {});
  assert.ok("message" in read, JSON.stringify(read));
  assert.ok(read.message.kind === "request");
  assert.deepEqual(read.message.args, {});
  assert.equal(read.message.version, undefined);
  assert.equal(read.message.id, undefined);
  const call = "_reply_q" in body ? "c" : undefined;
  assert.equal(read.message.reply?.queue, call);
});

Deno.test("a request without a method is refused, with where its answer goes", () => {
  const body = { args: {}, _msg_id: "c", _reply_q: "q", _unique_id: "u" };
  const read = decode(bytes(JSON.stringify(body)), {});
  assert.ok("error" in read);
  assert.match(read.error.reason, /wrong method/);
  assert.equal(read.error.reply?.queue, "q");
});

const failed = (message: string, args?: readonly unknown[]): Reply => ({
  kind: "reply",
  id: "u",
  call: "c",
  ending: true,
  failure: {
    type: "ValueError",
    module: "builtins",
    message,
    data: { name: message },
    args,
    traceback: [`${message}\n`],
  },
});

Deno.test("what stands inside a failure is ASCII, for every peer", () => {
  const message = "Žluťoučký \u007f 😀 \u2028 \\u0041";
  for (const dialect of [folsom, grizzly, oslo]) {
    for (
      const form of ["perCallQueue", "twoMessages", "oneMessage"] as ReplyForm[]
    ) {
      const { body } = encode(failed(message), dialect, undefined, form);
      const outer = JSON.parse(new TextDecoder().decode(body));
      const { failure } = JSON.parse(
        outer["oslo.message"] ?? JSON.stringify(outer),
      );
      assert.match(failure, /^[\x20-\x7e]*$/);
      assert.equal(JSON.parse(failure).message, message);
      assert.deepEqual(JSON.parse(failure).tb, [`${message}\n`]);
    }
  }
});

Deno.test("the arguments of an exception arrive, and go on to the next peer", () => {
  const args = ["i-1", 404, { where: null }];
  const { body } = encode(failed("not found", args), grizzly);
  const read = decode(body, {});
  assert.ok("message" in read && read.message.kind === "reply");
  const { failure } = read.message;
  assert.deepEqual(failure?.args, args);
  const error = fromFailure(failure!, {});
  assert.ok(error instanceof RemoteError);
  assert.deepEqual(error.failure.args, args);
  assert.deepEqual(toFailure(error, { fromDispatcher: false }).args, args);
  class NotFound extends Error {}
  const made = fromFailure(failure!, { "builtins.ValueError": NotFound });
  assert.ok(made instanceof NotFound);
  assert.deepEqual(toFailure(made, { fromDispatcher: false }).args, args);
  const own = Object.assign(new Error("x"), { args: [1, 2] });
  assert.deepEqual(toFailure(own, { fromDispatcher: false }).args, [1, 2]);
  const bad = Object.assign(new Error("x"), { args: [1n] });
  assert.equal(toFailure(bad, { fromDispatcher: false }).args, undefined);
});

const REQUEST = '{"method": "m", "args": {"text": "aaaaaaaaaaaaaaaaaaaaaaaa"}}';

Deno.test.each([
  ["zlib's form, as kombu writes it", "application/x-gzip", deflateSync],
  ["gzip", "application/x-gzip", gzipSync],
])("a body in %s is read, within the limit", (_name, compression, compress) => {
  const body = compress(bytes(REQUEST));
  const read = decode(body, { compression }, python);
  assert.ok("message" in read && read.message.kind === "request");
  assert.equal(read.message.method, "m");
  const narrow = { ...python, bytes: REQUEST.length };
  assert.ok("message" in decode(body, { compression }, narrow));
  const bomb = compress(new Uint8Array(64 * 1024 * 1024));
  const refused = decode(bomb, { compression }, python);
  assert.ok("error" in refused);
  assert.match(refused.error.reason, /more than 1048576 bytes/);
  const broken = decode(body.subarray(0, 20), { compression }, python);
  assert.match(
    "error" in broken ? broken.error.reason : "",
    /not compressed/,
  );
  assert.ok("error" in decode(body, { compression }), "only where it is so");
});

const base64 = (text: string) => new Uint8Array(Buffer.from(text, "base64"));

/** What Python's `bz2.compress` makes of texts. */
Deno.test.each([
  ["nothing", "", "QlpoORdyRThQkAAAAAA="],
  [
    "runs",
    `${"a".repeat(12)}b${"c".repeat(4)}${"d".repeat(259)}${"e".repeat(260)}`,
    "QlpoOTFBWSZTWfs/X1wAAAPBAOBAPgAACCAAIjRpk0IMmIT51SaHMSYICcBvxdyRThQkPs/X1wA=",
  ],
  [
    "a table",
    `[${
      Array.from({ length: 40 }, (_, i) => `{"n": ${i}, "s": "name${i % 17}"}`)
        .join(", ")
    }]`,
    "QlpoOTFBWSZTWVuIAHUAAVUbgFAEf/AACiIDCAowANpmImp6b1GpENAwSqn/qT9VQAAAKVSGnqAA9TTuJvE0E0qMiZE/CahMcutb8ePIMAHrlJJkkgAdwSi4nNzMxm0iyxFRFKaSpIU3NE9Yxhm/6d3421vtlnfOVEiiiiiiFgrak2GpRtSbDUpZqyUsrJWqLKiqjVXoBM49CbCbCairbFRuE/i7kinChILcQAOo",
  ],
])("bzip2 is read, within the limit: %s", (_name, text, packed) => {
  const body = base64(packed);
  const whole = unbzip2(body, text.length);
  assert.ok(whole);
  assert.equal(new TextDecoder().decode(whole), text);
  if (text.length > 0) assert.equal(unbzip2(body, text.length - 1), undefined);
  for (let end = 0; end < body.length; end++) {
    try { // a piece between two blocks is not JSON any more
      const piece = unbzip2(body.subarray(0, end), 1_000_000);
      assert.ok(text.startsWith(new TextDecoder().decode(piece)));
    } catch (error) {
      assert.ok(error instanceof Error && !(error instanceof RangeError));
    }
  }
  if (text.length === 0) return;
  for (let at = 10; at < 14; at++) { // its checksum
    const broken = body.slice();
    broken[at] = broken[at]! ^ 1;
    assert.throws(() => unbzip2(broken, 1_000_000), Error);
  }
  for (let at = 14; at < body.length; at++) { // whatever is in it, it ends
    const broken = body.slice();
    broken[at] = broken[at]! ^ 0x55;
    try {
      const read = unbzip2(broken, 10_000);
      assert.ok(read === undefined || read.length <= 10_000);
    } catch (error) {
      assert.ok(error instanceof Error && !(error instanceof RangeError));
    }
  }
});

Deno.test("a body in bzip2 is read, and 64 MiB in 113 bytes are refused", () => {
  const compression = "application/x-bz2";
  const body = base64(
    "QlpoOTFBWSZTWX+td6YAABM5gAQAUAQAECbCnEogACGiMhkMQU0yMTExFVTDxqNFQZwHIxDNJoJxNJQ907/F3JFOFCQf613pgA==",
  );
  const read = decode(body, { compression }, python);
  assert.ok("message" in read && read.message.kind === "request");
  const bomb = base64(
    "QlpoOTFBWSZTWQ4J4t8BX45AAMAAAAggADCATUZCoCWpCoCXMUFZJlNZvAS1wwCidcAAwAAACCAAIKQINjKKiE0qKiE4u5IpwoSFALuD6A==",
  );
  const refused = decode(bomb, { compression }, python);
  assert.ok("error" in refused);
  assert.match(refused.error.reason, /more than 1048576 bytes/);
});

Deno.test("a body in an unknown compression is refused, with what is read", () => {
  const headers = { compression: "application/zstd" };
  const refused = decode(bytes("{}"), headers, python);
  assert.ok("error" in refused);
  assert.match(
    refused.error.reason,
    /an unknown compression, not application\/x-gzip or application\/x-bz2/,
  );
});

Deno.test("refusals have the names of the caller's own classes", () => {
  const data = { method: "m", version: "1.9" };
  const version = new UnsupportedVersionError("x", { data });
  const method = new NoSuchMethodError("x", { data });
  const said = (error: Error, foreign: OsloPeer) => {
    const { module, type } = toFailure(error, {
      fromDispatcher: true,
      forOslo: foreign,
    });
    return `${module}.${type}`;
  };
  const old = "exceptions.AttributeError";
  assert.equal(
    said(version, "folsom"),
    "nova.rpc.common.UnsupportedRpcVersion",
  );
  assert.equal(
    said(version, "grizzly"),
    "nova.openstack.common.rpc.common.UnsupportedRpcVersion",
  );
  assert.deepEqual([said(method, "folsom"), said(method, "grizzly")], [
    old,
    old,
  ]);
  assert.equal(
    said(version, "oslo"),
    "oslo_messaging.rpc.dispatcher.UnsupportedVersion",
  );
  const args = new InvalidValueError("x");
  const result = new InvalidResultError("x");
  assert.deepEqual(
    (["folsom", "grizzly", "oslo"] as const).flatMap((peer) => [
      said(args, peer),
      said(result, peer),
    ]),
    [
      ...["exceptions.ValueError", "exceptions.RuntimeError"],
      ...["exceptions.ValueError", "exceptions.RuntimeError"],
      ...["builtins.ValueError", "builtins.RuntimeError"],
    ],
  );
  const address = { call: "c", queue: "q" };
  assert.deepEqual(
    [
      osloPeer({ ...address, form: "perCallQueue", ids: false }),
      osloPeer({ ...address, form: "perCallQueue" }),
      osloPeer({ ...address, form: "twoMessages" }),
      osloPeer({ ...address, form: "oneMessage" }),
    ],
    ["folsom", "grizzly", "grizzly", "oslo"],
  );
  for (const words of ["folsom", "grizzly", "oslo"] as const) {
    for (const error of [version, method]) {
      const failure = toFailure(error, {
        fromDispatcher: true,
        forOslo: words,
      });
      assert.equal(fromFailure(failure, {}).constructor, error.constructor);
    }
  }
});

/** Messages to bytes and back, and what is not a message. */
import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import { InvalidValueError } from "../../src/errors.ts";
import { decode, encode, encodeControl } from "../../src/wire/codec.ts";
import type {
  Notification,
  Reply,
  Request,
} from "../../src/wire/rpc_message.ts";
import { grizzly, oslo } from "../../src/wire/dialect.ts";
import { forwardedHeaders } from "../../src/wire/headers.ts";

const json = fc.jsonValue({ maxDepth: 4, noUnicodeString: false }).map(
  (value) => JSON.parse(JSON.stringify(value)), // without -0, which JSON has not
);
/**
 * Keys that come back as they went. `__proto__` is refused, `toJSON` is a function's name to JSON, and V8 mistakes a key with
 * an escape for one with a backslash that it parsed before (https://github.com/nodejs/node/issues/63785).
 */
const faithful = (value: unknown): boolean =>
  typeof value !== "object" || value === null ||
  Object.entries(value).every(([key, each]) =>
    !/^(__proto__|toJSON)$|\\/.test(key) && faithful(each)
  );
const fields = fc.dictionary(
  fc.string({ minLength: 1, maxLength: 12 }),
  json,
  { noNullPrototype: true },
).filter(faithful);
const value = json.filter(faithful);
const text = fc.string({ minLength: 1, maxLength: 40 });
const id = fc.uuid().map((uuid) => uuid.replaceAll("-", ""));
const maybe = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.option(arbitrary, { nil: undefined });

const requests: fc.Arbitrary<Request> = fc.record({
  kind: fc.constant("request" as const),
  id,
  method: fc.string(),
  args: fields,
  context: fields,
  version: maybe(fc.constantFrom("1.0", "2.27")),
  namespace: maybe(text),
  reply: maybe(fc.record({
    call: id,
    queue: text,
    form: fc.constantFrom("oneMessage" as const, "twoMessages" as const),
  })),
  timeout: maybe(fc.integer({ min: 0 })),
  warren: fc.constantFrom(1, 2),
}).map((request) =>
  request.reply
    ? request
    : { ...request, warren: undefined, timeout: undefined }
);

const replies: fc.Arbitrary<Reply> = fc.record({
  kind: fc.constant("reply" as const),
  id,
  call: id,
  result: value,
  ending: fc.boolean(),
  sequence: maybe(fc.integer({ min: 1 })),
  inbox: maybe(text),
  parsed: maybe(fc.constant(true)),
  heartbeat: maybe(fc.constant(true)),
});

const failures: fc.Arbitrary<Reply> = fc.record({
  kind: fc.constant("reply" as const),
  id,
  call: id,
  result: fc.constant(null),
  ending: fc.constant(true),
  failure: fc.record({
    type: fc.string(),
    module: fc.string(),
    message: fc.string(),
    data: fields,
    traceback: fc.array(fc.string()),
  }),
});

const notifications: fc.Arbitrary<Notification> = fc.record({
  kind: fc.constant("notification" as const),
  id,
  messageId: fc.uuid(),
  publisherId: fc.string(),
  eventType: text,
  priority: fc.constantFrom("INFO", "ERROR"),
  payload: value,
  timestamp: fc.string(),
  context: fields,
});

const plain = (message: unknown) => JSON.parse(JSON.stringify(message));

Deno.test.each(
  [
    ["request", requests],
    ["reply", replies],
    ["failure", failures],
    ["notification", notifications],
  ] as const,
)("decode gives back every %s that encode wrote", (_name, all) => {
  fc.assert(
    fc.property(all as fc.Arbitrary<Request>, (message) => {
      const { body, headers } = encode(message, grizzly);
      const decoded = decode(body, headers);
      assert.ok("message" in decoded, JSON.stringify(decoded));
      assert.equal(decoded.dialect, grizzly);
      const { reply } = message;
      const told = reply && !message.id
        ? { ...message, reply: { ...reply, ids: false } }
        : message;
      assert.deepEqual(plain(decoded.message), plain(told));
    }),
    { numRuns: 500 },
  );
});

const none = {
  credit: undefined,
  read: undefined,
  sequence: undefined,
  runId: undefined,
};

for (
  const control of [
    { ...none, kind: "control", command: "cancel", call: "c" },
    {
      ...none,
      kind: "control",
      command: "credit",
      call: "c",
      credit: 48,
      read: 0,
    },
    {
      kind: "control",
      command: "resume",
      call: "c",
      credit: 48,
      read: 16,
      sequence: 17,
      runId: "r",
    },
  ] as const
) {
  Deno.test(`decode gives back the control ${control.command}`, () => {
    const { body, headers } = encodeControl(control);
    const decoded = decode(body, headers);
    assert.deepEqual(decoded, { message: control, dialect: grizzly });
  });
}

/** Keys that mean something, with values of any kind. */
const words = fc.dictionary(
  fc.constantFrom(
    "method",
    "args",
    "version",
    "namespace",
    "result",
    "failure",
    "ending",
    "event_type",
    "message_id",
    "priority",
    "_msg_id",
    "_reply_q",
    "_timeout",
    "_unique_id",
    "_context_a",
    "oslo.message",
    "oslo.version",
    "__proto__",
    "constructor",
    "toString",
    "toJSON",
  ),
  fc.oneof(
    fc.jsonValue(),
    fc.string(),
    fc.json(),
    fc.constant({ tb: [{ toString: 1 }], kwargs: [], class: {} }),
    fc.constant('{"tb":[{"valueOf":1,"toString":2}],"kwargs":{"__proto__":1}}'),
  ),
);
const bodies = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  fc.json().map((each) => new TextEncoder().encode(each)),
  words.map((each) => new TextEncoder().encode(JSON.stringify(each))),
);
const headers = fc.dictionary(
  fc.constantFrom(
    "warren",
    "warren-timeout",
    "warren-sequence",
    "warren-inbox",
    "warren-parsed",
    "warren-beat",
    "warren-call",
    "x-death",
    "__proto__",
    "toString",
  ),
  fc.anything(),
);
const controls = fc.record({
  "warren-control": fc.anything(),
  "warren-call": fc.anything(),
});

Deno.test("decode never throws: 10 000 hostile bodies and headers", () => {
  const before = Reflect.ownKeys(Object.prototype);
  let refused = 0;
  const all = fc.oneof(
    { weight: 9, arbitrary: headers },
    { weight: 1, arbitrary: controls },
  );
  fc.assert(
    fc.property(bodies, all, (body, tags) => {
      const decoded = decode(body, tags);
      if ("message" in decoded) return;
      refused++;
      assert.ok(decoded.error.reason.length > 0);
      assert.ok(decoded.error.reason.length < 200);
    }),
    { numRuns: 10_000 },
  );
  assert.ok(refused > 1_000, `${refused} refused`);
  assert.deepEqual(Reflect.ownKeys(Object.prototype), before);
});

const address = { _msg_id: "call", _reply_q: "inbox" };
const known = { call: "call", queue: "inbox", form: "twoMessages", ids: false };

Deno.test.each([
  ["an array", [], {}, /not a JSON object/, undefined],
  ["a text", "text", {}, /not a JSON object/, undefined],
  ["null", null, {}, /not a JSON object/, undefined],
  ["an empty object", {}, {}, /neither a request/, undefined],
  [
    "args that are a list",
    { method: "m", args: [], ...address },
    {},
    /wrong args/,
    known,
  ],
  [
    "args that are a text",
    { method: "m", args: "a", ...address },
    {},
    /wrong args/,
    known,
  ],
  [
    "a method that is a number",
    { method: 5, args: {}, ...address },
    {},
    /wrong method/,
    known,
  ],
  [
    "an endless version",
    { method: "m", args: {}, version: "1".repeat(33), ...address },
    {},
    /wrong version/,
    known,
  ],
  [
    "a negative timeout",
    { method: "m", args: {}, ...address },
    { "warren-timeout": -1 },
    /wrong timeout/,
    known,
  ],
  [
    "a reply address that is a number",
    { method: "m", args: {}, ...address, _reply_q: 5 },
    {},
    /wrong reply\.queue/,
    undefined,
  ],
  [
    "an endless reply address",
    { method: "m", args: {}, ...address, _reply_q: "q".repeat(256) },
    {},
    /wrong reply\.queue/,
    undefined,
  ],
  [
    "a reply address that is endless in bytes",
    { method: "m", args: {}, ...address, _reply_q: "é".repeat(128) },
    {},
    /wrong reply\.queue/,
    undefined,
  ],
  [
    "a reply with a wrong sequence",
    { result: 1, _msg_id: "c" },
    { "warren-sequence": 0 },
    /wrong sequence/,
    undefined,
  ],
  [
    "a notification without a type",
    { event_type: "", message_id: "m", priority: "INFO" },
    {},
    /wrong/,
    undefined,
  ],
  [
    "an unknown control",
    {},
    { "warren-control": "explode", "warren-call": "c" },
    /unknown control/,
    undefined,
  ],
])(
  "decode refuses %s with a reason, and the reply address if it can be read",
  (_name, body, tags, reason, reply) => {
    const decoded = decode(
      new TextEncoder().encode(JSON.stringify(body)),
      tags,
    );
    assert.ok("error" in decoded);
    assert.match(decoded.error.reason, reason);
    assert.deepEqual(decoded.error.reply, reply);
  },
);

Deno.test("encode refuses what JSON cannot represent, and what is larger than the limit", () => {
  const request: Request = {
    kind: "request",
    method: "m",
    args: { at: [new Date(0)] },
    context: {},
  };
  assert.throws(() => encode(request, grizzly), (error) => {
    assert.ok(error instanceof InvalidValueError);
    assert.equal(error.data.path, "args.at[0]");
    return true;
  });
  const large = { ...request, args: { text: "x".repeat(1024 * 1024) } };
  assert.throws(
    () => encode(large, grizzly),
    /a request of 1048\d+ bytes, the limit is 1048576; send less, or raise/,
  );
});

Deno.test("encode refuses what no receiver would accept: too many values, too deep", () => {
  const base: Request = { kind: "request", method: "m", args: {}, context: {} };
  const many = { ...base, args: { list: Array(110_000).fill(0) } };
  assert.throws(() => encode(many, grizzly), /more than 100000 values/);
  assert.ok(
    encode({ ...base, args: { list: Array(90_000).fill(0) } }, grizzly),
  );
});

const envelopes: [string, object, RegExp][] = [
  [
    "an older version",
    { "oslo.version": "1.0", "oslo.message": "{}" },
    /version/,
  ],
  [
    "a newer version",
    { "oslo.version": "2.1", "oslo.message": "{}" },
    /version/,
  ],
  ["no version", { "oslo.version": null, "oslo.message": "{}" }, /version/],
  [
    "an object in it",
    { "oslo.version": "2.0", "oslo.message": {} },
    /without a text/,
  ],
  ["no JSON in it", { "oslo.version": "2.0", "oslo.message": "{" }, /not JSON/],
  [
    "a list in it",
    { "oslo.version": "2.0", "oslo.message": "[]" },
    /not a JSON object/,
  ],
  ["what is nested too deep in it", {
    "oslo.version": "2.0",
    "oslo.message": `{"method":"m","args":${"[".repeat(100)}${
      "]".repeat(100)
    }}`,
  }, /nested deeper/],
  ["an envelope in it", {
    "oslo.version": "2.0",
    "oslo.message": '{"oslo.version":"2.0","oslo.message":"{}"}',
  }, /neither a request/],
];

Deno.test.each(envelopes)(
  "decode refuses an envelope with %s",
  (_name, body, reason) => {
    const decoded = decode(new TextEncoder().encode(JSON.stringify(body)), {});
    assert.ok("error" in decoded);
    assert.match(decoded.error.reason, reason);
  },
);

Deno.test("encode refuses what its receiver would refuse within an envelope", () => {
  const base = { kind: "request", id: "i", method: "m", context: {} } as const;
  const list = Array(100_000).fill(0);
  const request: Request = { ...base, args: { list } };
  assert.throws(() => encode(request, oslo), /more than 100000 values/);
});

Deno.test("a header that a copy leaves out takes no room, and those of an application come first", () => {
  const many = (count: number, name: string, length: number) =>
    Object.fromEntries(
      Array.from({ length: count }, (_, n) => [
        `${name}${n}`,
        "v".repeat(length),
      ]),
    );
  const small = { tenant: "acme", traceparent: "00-1" };
  const big = { baggage: "q".repeat(17_000) };
  assert.deepEqual(forwardedHeaders({ ...big, ...small }), small);
  const application = many(64, "a-b_c.", 110);
  const strangers = [
    many(80, "a name ", 1),
    many(4, "long", 4_000),
    many(80, "middle", 200),
    big,
  ];
  for (const before of strangers) {
    const kept = forwardedHeaders({ ...before, ...application, "x-y": "z" });
    assert.deepEqual({ ...kept, ...application }, kept);
    assert.ok(Object.keys(kept).length <= 72);
  }
});

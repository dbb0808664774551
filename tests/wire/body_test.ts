/** Un-enveloped messages of Folsom, Grizzly and oslo.messaging's first notifier, and the ones that Warren writes. */
import assert from "node:assert/strict";
import { decode, encode } from "../../src/wire/codec.ts";
import type { Reply, Request } from "../../src/wire/rpc_message.ts";
import { grizzly } from "../../src/wire/dialect.ts";
import vectors from "../fixtures/wire/unenveloped.json" with { type: "json" };

const utf8 = new TextEncoder();
const CALL = "0123456789abcdef0123456789abcdef";
const INBOX = "reply_fedcba9876543210fedcba9876543210";
const UNIQUE = "a".repeat(32);
const CONTEXT = {
  user_id: "fake",
  project_id: "fake",
  is_admin: true,
  read_deleted: "no",
  roles: ["admin"],
  remote_address: null,
  timestamp: "2012-09-27T12:00:00.000000",
  request_id: "req-00000000-0000-0000-0000-000000000001",
  auth_token: null,
  quota_class: null,
  user_name: null,
  service_catalog: null,
  project_name: null,
  instance_lock_checked: false,
};
const bare = { call: CALL, queue: CALL, form: "perCallQueue" };
const folsomCall = { ...bare, ids: false };
const request = (fields: object) => ({
  kind: "request",
  context: CONTEXT,
  ...fields,
});
const reply = (fields: object) => ({ kind: "reply", ending: false, ...fields });

const MEANINGS: Record<string, object> = {
  folsom_call_request: request({
    method: "get_host_uptime",
    args: { host: "host1" },
    version: "2.0",
    reply: folsomCall,
  }),
  folsom_call_unversioned: request({
    method: "echo",
    args: { value: 42 },
    reply: folsomCall,
  }),
  folsom_cast: request({
    method: "reboot_instance",
    args: { instance: { uuid: "i-1" }, reboot_type: "SOFT" },
    version: "2.0",
  }),
  folsom_fanout_cast: request({
    method: "update_service_capabilities",
    args: { service_name: "compute", host: "host1", capabilities: [] },
    version: "2.0",
  }),
  folsom_reply_result: reply({ result: " up 1 day" }),
  folsom_reply_null_result: reply({ result: null }),
  folsom_reply_ending: reply({ result: null, ending: true }),
  folsom_reply_failure: reply({
    result: null,
    ending: true,
    failure: {
      type: "InstanceNotFound",
      module: "nova.exception",
      message: "Instance i-1 could not be found.",
      data: { instance_id: "i-1", code: 404 },
      traceback: [
        "Traceback (most recent call last):\n",
        "InstanceNotFound: Instance i-1 could not be found.\n",
      ],
    },
  }),
  folsom_notification: {
    kind: "notification",
    messageId: "11111111-2222-3333-4444-555555555555",
    publisherId: "compute.host1",
    eventType: "compute.instance.create.start",
    priority: "INFO",
    payload: { instance_id: "i-1" },
    timestamp: "2012-09-27 12:00:00.000000",
    context: CONTEXT,
  },
  grizzly_call_default: request({
    id: UNIQUE,
    method: "echo",
    args: { value: 1 },
    version: "2.27",
    reply: bare,
  }),
  grizzly_call_single_reply_queue: request({
    id: UNIQUE,
    method: "echo",
    args: { value: 1 },
    version: "2.27",
    reply: { call: CALL, queue: INBOX, form: "twoMessages" },
  }),
  grizzly_reply_no_reply_q: reply({ id: UNIQUE, result: 1 }),
  grizzly_reply_reply_q: reply({ id: UNIQUE, call: CALL, result: 1 }),
  grizzly_reply_reply_q_ending: reply({
    id: "b".repeat(32),
    call: CALL,
    result: null,
    ending: true,
  }),
  oslo_notification: {
    kind: "notification",
    id: "96f1b4513f464db1ab0a5d7296972daa",
    messageId: "25a45599-957d-45bf-8ff5-63a24efd1df4",
    publisherId: "lab.host1",
    eventType: "lab.thing.warn",
    priority: "WARN",
    payload: { id: 2 },
    timestamp: "2026-11-22 10:33:37.131187",
    context: {},
  },
};

/** Without keys whose value is undefined. */
const plain = (value: unknown) => JSON.parse(JSON.stringify(value));
const said = (body: Uint8Array) => JSON.parse(new TextDecoder().decode(body));

Deno.test.each(vectors.map(({ name, body }) => [name, body] as const))(
  "decode understands %s",
  (name, body) => {
    const decoded = decode(utf8.encode(body), {});
    assert.ok("message" in decoded, JSON.stringify(decoded));
    assert.deepEqual(plain(decoded.message), MEANINGS[name]);
  },
);

Deno.test("decode reads Havana's null namespace and oslo's _timeout in an un-enveloped request", () => {
  const body = {
    method: "m",
    args: {},
    namespace: null,
    _msg_id: CALL,
    _reply_q: INBOX,
    _timeout: null,
  };
  const decoded = decode(utf8.encode(JSON.stringify(body)), {});
  assert.ok("message" in decoded && decoded.message.kind === "request");
  assert.equal(decoded.message.namespace, undefined);
  assert.deepEqual(decoded.message.reply, {
    call: CALL,
    queue: INBOX,
    form: "oneMessage",
    ids: false,
  });
});

const ask: Request = {
  kind: "request",
  id: UNIQUE,
  method: "echo",
  args: { value: 1 },
  context: { user_id: "u" },
  version: "1.0",
  reply: { call: CALL, queue: INBOX, form: "oneMessage" },
};

Deno.test("encode writes one request that Folsom, Grizzly and oslo servers answer", () => {
  assert.deepEqual(said(encode(ask, grizzly).body), {
    method: "echo",
    args: { value: 1 },
    version: "1.0",
    _msg_id: CALL,
    _reply_q: INBOX,
    _timeout: null,
    _unique_id: UNIQUE,
    _context_user_id: "u",
  });
});

Deno.test("encode writes a cast without reply fields, and the namespace where there is one", () => {
  const { reply: _, ...cast } = ask;
  assert.deepEqual(
    said(encode({ ...cast, namespace: "base" }, grizzly).body),
    {
      method: "echo",
      args: { value: 1 },
      namespace: "base",
      version: "1.0",
      _unique_id: UNIQUE,
      _context_user_id: "u",
    },
  );
});

const failure = {
  type: "NotFound",
  module: "nova.exception",
  message: "gone",
  data: { id: 7 },
  traceback: ["line\n"],
};
const ids = { _msg_id: CALL, _unique_id: UNIQUE };

Deno.test.each(
  [
    ["oneMessage", { result: 5, ending: true }, {
      result: 5,
      failure: null,
      ending: true,
      ...ids,
    }],
    ["oneMessage", { result: 5, ending: false }, {
      result: 5,
      failure: null,
      ending: false,
      ...ids,
    }],
    ["twoMessages", { result: 5, ending: false }, {
      result: 5,
      failure: null,
      ...ids,
    }],
    ["twoMessages", { ending: true }, {
      result: null,
      failure: null,
      ending: true,
      ...ids,
    }],
    ["perCallQueue", { result: 5, ending: false }, {
      result: 5,
      failure: null,
      _unique_id: UNIQUE,
    }],
    ["perCallQueue", { ending: true, id: undefined }, {
      result: null,
      failure: null,
      ending: true,
    }],
  ] as const,
)("encode writes a reply in the form %s", (form, fields, expected) => {
  const answer: Reply = { kind: "reply", id: UNIQUE, call: CALL, ...fields };
  assert.deepEqual(
    said(encode(answer, grizzly, undefined, form).body),
    expected,
  );
});

Deno.test.each(["oneMessage", "twoMessages", "perCallQueue"] as const)(
  "encode writes a failure in the form %s as JSON inside JSON",
  (form) => {
    const answer: Reply = {
      kind: "reply",
      id: UNIQUE,
      call: CALL,
      failure,
      ending: true,
    };
    const body = said(encode(answer, grizzly, undefined, form).body);
    assert.equal(typeof body.failure, "string");
    assert.deepEqual(JSON.parse(body.failure), {
      class: "NotFound",
      module: "nova.exception",
      message: "gone",
      tb: ["line\n"],
      args: ["gone"],
      kwargs: { id: 7 },
    });
    assert.equal("ending" in body, form === "oneMessage");
    assert.equal("_msg_id" in body, form !== "perCallQueue");
  },
);

/** What a failure that a peer wrote oddly is read as. */
const oddFailure = (written: unknown) => {
  const body = { result: null, failure: written, _msg_id: CALL };
  const decoded = decode(utf8.encode(JSON.stringify(body)), {});
  assert.ok("message" in decoded && decoded.message.kind === "reply");
  return decoded.message.failure;
};
const nothing = {
  type: "Error",
  module: "",
  message: "",
  data: {},
  traceback: [],
};
const hostile = '{"kwargs":{"__proto__":{"a":1}}}';

Deno.test.each([
  ["text that is no JSON", "boom", { message: "boom" }],
  ["a number", 5, {}],
  ["an object instead of text", { class: "A", message: "m" }, {
    type: "A",
    message: "m",
  }],
  [
    "values of wrong types",
    { class: 1, module: [], message: {}, kwargs: [] },
    {},
  ],
  ["a traceback that is no text", { tb: [{ toString: 1 }, "a", 5] }, {
    traceback: ["a"],
  }],
  ["a hostile text inside", hostile, { message: hostile }],
])("decode reads a failure that is %s", (_name, written, expected) => {
  assert.deepEqual(oddFailure(written), { ...nothing, ...expected });
});

Deno.test("decode does not follow a failure that is nested without end", () => {
  const text = `{"tb":[${"[".repeat(100_000)}${"]".repeat(100_000)}]}`;
  assert.deepEqual(oddFailure(text), { ...nothing, message: text });
});

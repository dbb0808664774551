/** What Warren puts on an OpenStack bus, message by message: properties, exchange, key and body, as others send them. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { GetMessage } from "npm:amqplib@2.3.1";
import {
  type ConnectionOptions,
  implement,
  NoSuchMethodError,
  RemoteError,
  TimeoutError,
} from "../../mod.ts";
import { failureOf, type Raw, sumHandlers, sums } from "../rpc/support.ts";
import { until } from "../setup/probe.ts";
import messages from "../fixtures/wire/messages.json" with { type: "json" };
import odd from "../fixtures/wire/odd_replies.json" with { type: "json" };
import { CloudBus, setups } from "./bus.ts";

type Body = Record<string, unknown>;

/** Registers a test on a bus of OpenStack's default form. */
function onCloud(name: string, test: (bus: CloudBus) => Promise<void>): void {
  Deno.test(`OpenStack's bus: ${name} (rabbitmq)`, async () => {
    await using bus = await CloudBus.open(setups.default!);
    await test(bus);
  });
}

const vector = (name: string) =>
  messages.find((each) => each.name === name) ?? assert.fail(name);

function bodyOf(content: string | Buffer): Body {
  const outer = JSON.parse(content.toString());
  return outer["oslo.message"] ? JSON.parse(outer["oslo.message"]) : outer;
}

/** A queue like the topic's, whose messages are looked at. */
async function queue(raw: Raw, bus: CloudBus, name: string): Promise<void> {
  await raw.channel.assertExchange(bus.topic, "topic", { durable: false });
  await raw.channel.assertQueue(name, { durable: false });
  await raw.channel.bindQueue(name, bus.topic, name);
}

async function got(raw: Raw, name: string): Promise<GetMessage> {
  return await until("a message", () => raw.channel.get(name, { noAck: true }));
}

const IDS = ["_msg_id", "_reply_q", "_unique_id", "message_id", "timestamp"];

/** As captured, and as Warren says it: all but ids and times. */
function same(said: GetMessage, name: string, exchange: string): void {
  const { routing_key, properties, body } = vector(name);
  const { contentType, contentEncoding, expiration } = said.properties;
  assert.equal(said.fields.exchange, exchange);
  assert.equal(said.fields.routingKey.replace(exchange, "lab"), routing_key);
  assert.equal(contentType, properties.content_type);
  assert.equal(contentEncoding, properties.content_encoding);
  assert.equal(expiration, properties.expiration);
  const [ours, theirs] = [bodyOf(said.content), bodyOf(body)];
  assert.deepEqual(Object.keys(ours).sort(), Object.keys(theirs).sort());
  for (const key of IDS) {
    assert.equal(typeof ours[key], typeof theirs[key], key);
    if (key in theirs) ours[key] = theirs[key];
  }
  assert.deepEqual(ours, theirs);
}

onCloud("requests are as oslo.messaging's", async (bus) => {
  const raw = await bus.raw();
  const { topic } = bus;
  const hosts = [topic, `${topic}.host1`];
  bus.owns(`${topic}.host1`);
  for (const name of hosts) await queue(raw, bus, name);
  const connection = await bus.connect({ dialect: "oslo" });
  const stop = new AbortController();
  const asked: Promise<unknown>[] = [];
  const call = (
    name: string,
    method: string,
    more: object = {},
    options = {},
  ) => {
    const { args } = bodyOf(vector(name).body) as { args: Body };
    const timeout = Number(vector(name).properties.expiration);
    const all = { timeout, signal: stop.signal, ...options };
    const target = { topic, ...more };
    asked.push(connection.call(target, method, args, all).catch(() => {}));
  };
  call("call_request", "echo");
  same(await got(raw, topic), "call_request", topic);
  call("call_versioned_request", "echo", { version: "1.2" });
  same(await got(raw, topic), "call_versioned_request", topic);
  call("call_server_request", "echo", { host: "host1" });
  same(await got(raw, `${topic}.host1`), "call_server_request", topic);
  call("call_nonascii_request", "echo");
  same(await got(raw, topic), "call_nonascii_request", topic);
  call("namespace_request", "echo", { namespace: "other" });
  same(await got(raw, topic), "namespace_request", topic);
  call("monitor_request", "slow", {}, { monitor: 2_000 });
  same(await got(raw, topic), "monitor_request", topic);
  await connection.cast({ topic }, "note", { n: 1 });
  same(await got(raw, topic), "cast_request", topic);
  await raw.channel.assertQueue(`${topic}-f`, { exclusive: true });
  await raw.channel.assertExchange(`${topic}_fanout`, "fanout", {
    durable: false,
    autoDelete: true,
  });
  await raw.channel.bindQueue(`${topic}-f`, `${topic}_fanout`, "");
  await connection.fanoutCast({ topic }, "note", { n: 3 });
  const fanned = await got(raw, `${topic}-f`);
  assert.equal(fanned.fields.exchange, `${topic}_fanout`);
  assert.equal(fanned.fields.routingKey, "");
  const { _unique_id, ...said } = bodyOf(fanned.content);
  assert.deepEqual(said, { method: "note", args: { n: 3 } });
  stop.abort();
  await Promise.all(asked);
});

onCloud("requests by default have what every server needs", async (bus) => {
  const raw = await bus.raw();
  await queue(raw, bus, bus.topic);
  const connection = await bus.connect();
  const stop = new AbortController();
  const options = { timeout: 10_000, signal: stop.signal };
  const target = { topic: bus.topic, version: "1.0" };
  const call = failureOf(
    connection.call(target, "echo", { value: 1 }, options),
  );
  const { content, properties } = await got(raw, bus.topic);
  const { _msg_id, _reply_q, _unique_id, ...said } = JSON.parse(
    content.toString(),
  );
  const args = { value: 1 };
  assert.deepEqual(said, {
    method: "echo",
    args,
    version: "1.0",
    _timeout: null,
  });
  assert.match(_reply_q, /^reply_[0-9a-f]{32}$/);
  for (const id of [_msg_id, _unique_id]) assert.match(id, /^[0-9a-f]{32}$/);
  assert.equal(properties.expiration, "10000");
  // py-amqp reads no other type of a header's value as RabbitMQ's clients write it.
  for (const value of Object.values(properties.headers ?? {})) {
    assert.equal(typeof value, "string");
  }
  stop.abort(new Error("expected"));
  await call;
});

onCloud("events are as oslo.messaging's, in both formats", async (bus) => {
  const raw = await bus.raw();
  const cases = [
    ["notify_v2_nolistener_notification", "2.0", "info", "lab.thing.start"],
    ["notify_v1_notification", "1.0", "warn", "lab.thing.warn"],
  ] as const;
  for (const [name, format, priority, type] of cases) {
    const topics = [`${bus.topic}-n`];
    bus.owns(`${bus.topic}-n.${priority}`);
    const options: ConnectionOptions = {
      notifications: { format, topics },
      publisherId: "lab.host1",
    };
    const connection = await bus.connect(options);
    const { payload } = bodyOf(vector(name).body);
    const context = format === "2.0"
      ? { user_id: "u1", request_id: "req-9", auth_token: "x" }
      : { auth_token: "x" };
    await connection.notify(type, payload, { context, priority });
    const said = await got(raw, `${topics[0]}.${priority}`);
    const fields = {
      ...said.fields,
      routingKey: said.fields.routingKey.replace(
        `${bus.topic}-n`,
        "notifications",
      ),
    };
    same({ ...said, fields }, name, bus.topic);
  }
});

/** Asks a service of Warren's as a stranger does; gives the messages that come back. */
async function ask(raw: Raw, bus: CloudBus, text: string, count: number) {
  const body = bodyOf(text);
  const queue = String(body._reply_q ?? body._msg_id);
  await raw.channel.assertQueue(queue, { exclusive: true });
  const send = Buffer.from(text);
  raw.channel.publish(bus.topic, bus.topic, send, {
    contentType: "application/json",
    contentEncoding: "utf-8",
  });
  const answers: GetMessage[] = [];
  while (answers.length < count) answers.push(await got(raw, queue));
  await raw.channel.deleteQueue(queue);
  return answers;
}

onCloud(
  "answers are in the dialect of the request, through the default exchange",
  async (bus) => {
    const manager = implement(sums(bus.topic), sumHandlers());
    await using _service = await bus.service(manager);
    const raw = await bus.raw();
    const part = { result: 5, failure: null };
    const end = { result: null, failure: null, ending: true };
    const hex = () => crypto.randomUUID().replaceAll("-", "");
    const cases: [object, boolean, Body[]][] = [
      [{}, false, [part, end]], // Folsom
      [{ _unique_id: 1 }, false, [part, end]], // Grizzly
      [{ _unique_id: 1, _reply_q: 1 }, false, [part, end]],
      [{ _unique_id: 1, _reply_q: 1 }, true, [part, end]], // Havana
      [{ _unique_id: 1, _reply_q: 1, _timeout: null }, true, [{
        ...part,
        ending: true,
      }]],
      [{ _unique_id: 1, _reply_q: 1, _timeout: null }, false, [{
        ...part,
        ending: true,
      }]],
    ];
    for (const [keys, enveloped, expected] of cases) {
      const call = hex();
      const ids = Object.entries({ _msg_id: 1, ...keys }).map((
        [key, value],
      ) => [
        key,
        key === "_timeout"
          ? value
          : key === "_reply_q"
          ? `reply_${hex()}`
          : call,
      ]);
      const request = {
        method: "add",
        args: { a: 2, b: 3 },
        ...Object.fromEntries(ids),
      };
      const text = JSON.stringify(request);
      const sealed = JSON.stringify({
        "oslo.version": "2.0",
        "oslo.message": text,
      });
      const answers = await ask(
        raw,
        bus,
        enveloped ? sealed : text,
        expected.length,
      );
      for (const [n, { fields, properties, content }] of answers.entries()) {
        assert.equal(fields.exchange, "");
        assert.equal(properties.expiration, undefined);
        assert.equal(properties.contentType, "application/json");
        assert.deepEqual(properties.headers, {});
        assert.equal(
          "oslo.message" in JSON.parse(content.toString()),
          enveloped,
        );
        const { _msg_id, _unique_id, ...said } = bodyOf(content);
        assert.deepEqual(said, expected[n]);
        assert.equal(_msg_id, "_reply_q" in request ? call : undefined);
        assert.equal(
          typeof _unique_id,
          "_unique_id" in request ? "string" : "undefined",
        );
      }
    }
  },
);

/** A server that answers each request with the same bodies. */
async function answering(raw: Raw, bus: CloudBus, replies: readonly string[]) {
  await queue(raw, bus, bus.topic);
  const { consumerTag } = await raw.channel.consume(bus.topic, (message) => {
    const { _msg_id, _reply_q } = bodyOf(String(message?.content));
    for (const reply of replies) {
      const { _msg_id: old } = bodyOf(reply);
      const text = reply.replaceAll(String(old), String(_msg_id));
      raw.channel.sendToQueue(String(_reply_q), Buffer.from(text), {
        contentType: "application/json",
      });
    }
  }, { noAck: true });
  return consumerTag;
}

/** What a caller makes of each of the odd answers; for those that are not here, what oslo.messaging makes of them. */
const OUTCOMES: Readonly<Record<string, unknown>> = {
  null_then_ending: null, // oslo.messaging's own client breaks down over it
  no_ending_key: TimeoutError,
  failure_no_ending: "ValueError",
  no_failure_key: "x",
  failure_dict: "ValueError",
  failure_exceptions_module: "ValueError",
  failure_bad_args: "UnicodeDecodeError",
  failure_base_exception: "SystemExit",
  failure_unknown_class: "NoSuchThing",
  failure_minimal: "ValueError",
  no_content_type: "x",
};

for (const { name, replies, outcome } of odd) {
  onCloud(`a caller gets through the odd answer ${name}`, async (bus) => {
    const raw = await bus.raw();
    await answering(raw, bus, replies);
    const connection = await bus.connect();
    const call = connection.call({ topic: bus.topic }, "m", {}, {
      timeout: 700,
    });
    const expected = name in OUTCOMES ? OUTCOMES[name] : outcome;
    const failed = /^failure/.test(name) || typeof expected === "function";
    if (!failed) return assert.deepEqual(await call, expected);
    const error = await failureOf(call);
    if (error instanceof RemoteError) {
      assert.equal(error.failure.type, expected);
    } else assert.equal(error.constructor, expected);
  });
}

/** A server as Folsom's: it answers to an exchange of the call's name, which it declares itself. */
async function folsomServer(
  raw: Raw,
  bus: CloudBus,
  seen: Body[],
  reply: Body[],
) {
  await queue(raw, bus, bus.topic);
  await raw.channel.consume(bus.topic, async (message) => {
    const body = bodyOf(String(message?.content));
    seen.push(body);
    const call = String(body._msg_id);
    const options = { durable: false, autoDelete: true };
    await raw.channel.assertExchange(call, "direct", options);
    for (const each of reply) {
      raw.channel.publish(call, call, Buffer.from(JSON.stringify(each)));
    }
  }, { noAck: true });
}

const two = [{ result: 7, failure: null }, {
  result: null,
  failure: null,
  ending: true,
}];

for (const dialect of ["grizzly", "folsom"] as const) {
  onCloud(`a server of Folsom answers the dialect ${dialect}`, async (bus) => {
    const raw = await bus.raw();
    const seen: Body[] = [];
    await folsomServer(raw, bus, seen, two);
    const connection = await bus.connect({ dialect });
    const target = { topic: bus.topic };
    for (let n = 0; n < 3; n++) {
      assert.equal(await connection.call(target, "m"), 7);
    }
    const items: unknown[] = [];
    for await (const item of connection.multicall(target, "m")) {
      items.push(item);
    }
    assert.deepEqual(items, [7]);
    const keys = Object.keys(seen[0] ?? {}).sort();
    assert.deepEqual(
      keys,
      dialect === "folsom"
        ? ["_msg_id", "args", "method"]
        : ["_msg_id", "_reply_q", "_timeout", "_unique_id", "args", "method"],
    );
    // The exchanges of the calls are gone with them.
    for (const { _msg_id } of seen) {
      await until("its exchange is gone", async () => {
        const other = await bus.raw();
        other.channel.on("error", () => {});
        const found = other.channel.checkExchange(String(_msg_id));
        return await found.then(() => false, () => true);
      });
    }
  });
}

onCloud("a failure of Folsom's ends the call, in its words", async (bus) => {
  const raw = await bus.raw();
  const failure = JSON.stringify({
    class: "AttributeError",
    module: "exceptions",
    message: "No such RPC function 'm'",
    tb: [],
  });
  await folsomServer(raw, bus, [], [{ result: null, failure }]);
  const connection = await bus.connect();
  const error = await failureOf(connection.call({ topic: bus.topic }, "m"));
  assert.ok(error instanceof NoSuchMethodError);
});

onCloud(
  "once a server that knows the reply queue has answered, calls make no queue",
  async (bus) => {
    const open = Promise.withResolvers<void>();
    const handlers = sumHandlers({ wait: () => open.promise });
    const manager = implement(sums(bus.topic), handlers);
    await using _service = await bus.service(manager);
    const raw = await bus.raw();
    const connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    /** Whether a call that is under way has a queue of its own. */
    const hasQueue = async (call: string) => {
      const other = await bus.raw();
      other.channel.on("error", () => {});
      const found = await other.channel.checkQueue(call).then(
        () => "",
        (error) => String(error),
      );
      if (found) assert.match(found, /404/);
      return found === "";
    };
    await raw.channel.assertQueue(`${bus.topic}-see`, { exclusive: true });
    await raw.channel.bindQueue(`${bus.topic}-see`, bus.topic, bus.topic);
    const seen = async () => {
      const { _msg_id } = bodyOf((await got(raw, `${bus.topic}-see`)).content);
      return String(_msg_id);
    };
    const first = client.call("wait");
    assert.equal(await hasQueue(await seen()), true);
    await client.call("add", { a: 1, b: 2 });
    await seen();
    const second = client.call("wait");
    assert.equal(await hasQueue(await seen()), false);
    open.resolve();
    await Promise.all([first, second]);
  },
);

/** Peers that are not Warren: clients and servers of Folsom, Grizzly and oslo.messaging, played by a raw channel. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { z } from "npm:zod@^4.6.7";
import { contract, InvalidResultError, RemoteError } from "../../../mod.ts";
import { until } from "../../setup/probe.ts";
import { all, type Bus, failureOf, onRabbit, type Raw } from "../support.ts";

const api = (topic: string) =>
  contract({
    topic,
    version: "1.0",
    procedures: {
      echo: { args: z.object({ value: z.unknown() }), result: z.unknown() },
      list: { yields: z.unknown() },
      fail: {},
    },
  });

type Body = Record<string, unknown>;

/** Asks as a stranger does, and gives the first `count` messages that come back. */
async function ask(bus: Bus, request: Body, count: number): Promise<Body[]> {
  await using raw = await bus.raw() as Raw;
  const call = crypto.randomUUID().replaceAll("-", "");
  const queue = "_reply_q" in request ? `reply_${call}` : call;
  await raw.channel.assertQueue(queue, { exclusive: true });
  const reply = "_reply_q" in request ? { _reply_q: queue } : {};
  const id = "_unique_id" in request ? { _unique_id: call } : {};
  const body = { args: {}, _msg_id: call, ...request, ...reply, ...id };
  raw.channel.publish("warren", bus.topic, Buffer.from(JSON.stringify(body)));
  const answers: Body[] = [];
  await until(`${count} answers`, async () => {
    const message = await raw.channel.get(queue, { noAck: true });
    if (message) answers.push(JSON.parse(message.content.toString()));
    return answers.length === count;
  });
  return answers.map(({ _msg_id, _unique_id, ...rest }) => {
    assert.equal(_msg_id, "_reply_q" in request ? call : undefined);
    assert.equal(
      typeof _unique_id,
      "_unique_id" in request ? "string" : "undefined",
    );
    return rest;
  });
}

const worker = (bus: Bus) =>
  bus.serve(api(bus.topic), {
    echo: ({ value }) => value,
    async *list() {
      yield 1;
      yield null;
      yield 2;
    },
    fail: () => {
      throw new RangeError("no");
    },
  });

const echo = { method: "echo", args: { value: 5 } };
const list = { method: "list" };
const ending = { result: null, failure: null, ending: true };
const part = (result: unknown) => ({ result, failure: null });

for (
  const [name, address, answer, items] of [
    ["Folsom", {}, [part(5), ending], [part(1), part(2), ending]],
    ["Grizzly (default)", { _unique_id: "" }, [part(5), ending], [
      part(1),
      part(2),
      ending,
    ]],
    [
      "Grizzly",
      { _reply_q: "", _unique_id: "" },
      [part(5), ending],
      [part(1), part(2), ending],
    ],
    ["oslo", { _reply_q: "", _timeout: null, _unique_id: "" }, [{
      ...part(5),
      ending: true,
    }], [
      { ...part(1), ending: false },
      { ...part(2), ending: false },
      ending,
    ]],
  ] as const
) {
  onRabbit(
    `a client of ${name} gets its answers in its own form`,
    async (bus) => {
      await using _worker = await worker(bus);
      const call = await ask(bus, { ...echo, ...address }, answer.length);
      assert.deepEqual(call, answer);
      const stream = await ask(bus, { ...list, ...address }, items.length);
      assert.deepEqual(
        stream,
        items,
        "an empty item would be taken for a beat",
      );
      const failed = { method: "fail", ...address };
      const [failure = {}] = await ask(bus, failed, 1);
      assert.equal(failure.result, null);
      assert.equal("ending" in failure, name === "oslo");
      const { class: type, message, args, kwargs, tb } = JSON.parse(
        String(failure.failure),
      );
      assert.deepEqual([type, message, args, kwargs, tb], [
        "RangeError",
        "no",
        ["no"],
        {},
        [],
      ]);
      const [unknown = {}] = await ask(bus, { method: "no", ...address }, 1);
      const refusal = JSON.parse(String(unknown.failure));
      const refused = name === "oslo"
        ? ["oslo_messaging.rpc.dispatcher", "NoSuchMethod"]
        : ["exceptions", "AttributeError"]; // as their own servers refuse it
      assert.deepEqual([refusal.module, refusal.class], refused);
    },
  );
}

/** A server that answers each request with the given bodies. */
async function answering(bus: Bus, raw: Raw, replies: readonly Body[]) {
  const { channel } = raw;
  await channel.assertExchange("warren", "topic");
  await channel.assertQueue(bus.topic);
  await channel.bindQueue(bus.topic, "warren", bus.topic);
  await channel.consume(bus.topic, (message) => {
    const request = JSON.parse(String(message?.content));
    for (const reply of replies) {
      const body = { ...reply, _msg_id: request._msg_id };
      channel.sendToQueue(request._reply_q, Buffer.from(JSON.stringify(body)));
    }
  }, { noAck: true });
}

const wrong = JSON.stringify({
  class: "InstanceNotFound",
  module: "nova.exception",
  message: "gone",
  tb: ["line\n"],
  args: ["gone"],
  kwargs: { code: 404 },
});

for (
  const [name, replies, value, items] of [
    ["two messages", [part(5), ending], 5, [5]],
    ["one message", [{ ...part(5), ending: true }], 5, [5]],
    ["parts", [part(1), part(2), ending], 2, [1, 2]],
    ["nothing", [part(null), ending], null, [null]],
    ["an ending that was sent twice", [part(5), ending, ending], 5, [5]],
    ["a result in the ending", [part(1), { ...part(2), ending: true }], 2, [
      1,
      2,
    ]],
  ] as const
) {
  onRabbit(
    `a caller understands a server that answers with ${name}`,
    async (bus) => {
      await using raw = await bus.raw() as Raw;
      await answering(bus, raw, replies);
      await using connection = await bus.connect();
      const client = connection.client(api(bus.topic));
      assert.deepEqual(await client.call("echo", { value: 0 }), value);
      assert.deepEqual(await all(client.multicall("list")), items);
    },
  );
}

onRabbit(
  "a caller takes a failure without an ending as the end",
  async (bus) => {
    await using raw = await bus.raw() as Raw;
    await answering(bus, raw, [part(1), { result: null, failure: wrong }]);
    await using connection = await bus.connect();
    const client = connection.client(api(bus.topic));
    const error = await failureOf(client.call("echo", { value: 0 }));
    assert.ok(error instanceof RemoteError);
    assert.deepEqual(error.failure, {
      type: "InstanceNotFound",
      module: "nova.exception",
      message: "gone",
      data: { code: 404 },
      traceback: ["line\n"],
    });
    const items = client.multicall("list");
    assert.equal((await items.next()).value, 1);
    assert.ok(await failureOf(items.next()) instanceof RemoteError);
  },
);

onRabbit(
  "a caller checks what a server that is not Warren returns",
  async (bus) => {
    await using raw = await bus.raw() as Raw;
    await answering(bus, raw, [{ ...part("text"), ending: true }]);
    await using connection = await bus.connect();
    const strict = contract({
      topic: bus.topic,
      version: "1.0",
      procedures: { echo: { result: z.number() } },
    });
    const error = await failureOf(connection.client(strict).call("echo"));
    assert.ok(error instanceof InvalidResultError);
    assert.match(error.message, /^Invalid result of .*echo/);
  },
);

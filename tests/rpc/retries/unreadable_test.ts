/** What cannot be read is a dead letter, if nobody waits for an answer: whatever it is, and however much. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import {
  failureOf,
  onEachBus,
  onRabbit,
  sumHandlers,
  sums,
} from "../support.ts";
import { deadOf, Stranger } from "../foreign_peer.ts";

const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);

/** Nobody asks for an answer to any of them, and none can be read. */
const BAD: readonly (string | Uint8Array)[] = [
  crypto.getRandomValues(new Uint8Array(300)),
  new Uint8Array(2 * 1024 * 1024).fill(0x61),
  `{"method":"add","args":{"a":${nested(65)}}}`,
  nested(100_000),
  "",
  "{",
  '{"method":7,"args":{}}',
  '{"result":1,"failure":null,"ending":true,"_msg_id":"a"}',
  '{"event_type":"a.b","message_id":"m","priority":"INFO"}',
  '{"method":"add","args":[]}',
];

const textOf = (body: Uint8Array | string) =>
  Buffer.from(body as string).toString("latin1");

onEachBus(
  "bad casts are dead letters as they came, and the good ones among them are handled",
  async (bus) => {
    await using log = await logged();
    const tags: unknown[] = [];
    const api = sums(bus.topic);
    const worker = await bus.serve(
      api,
      sumHandlers({ wait: ({ tag }) => void tags.push(tag) }),
    );
    await using connection = await bus.connect();
    await using stranger = await Stranger.on(bus);
    const client = connection.client(api);
    for (const [n, body] of BAD.entries()) {
      await stranger.put(bus.topic, body, { messageId: `bad-${n}` });
      await client.cast("wait", { tag: `${n}` });
    }
    await until("all were looked at", () => {
      const { handled, dead } = worker.stats;
      return handled === BAD.length && dead === BAD.length;
    });
    assert.equal(worker.stats.refused, BAD.length);
    assert.equal(worker.stats.failed, 0);
    assert.deepEqual(tags, BAD.map((_, n) => `${n}`));
    await worker[Symbol.asyncDispose]();
    assert.deepEqual(await stranger.left(bus.topic), []);
    const letters = await stranger.take(deadOf(bus.topic), BAD.length);
    assert.equal(letters.length, BAD.length);
    const bodies = letters.map(({ message }) => textOf(message.body));
    assert.deepEqual(bodies.sort(), BAD.map(textOf).sort());
    for (const { message } of letters) {
      const { headers, messageId } = message;
      assert.match(`${messageId}`, /^bad-\d$/);
      assert.match(`${headers["warren-reason"]}`, /^Refused: /);
      assert.equal(headers["warren-queue"], bus.topic);
      assert.equal(headers["warren-attempts"], "0");
      assert.equal(headers["warren-burials"], "1");
    }
    assert.equal(log.times(/Refused a message/), BAD.length);
  },
);

onEachBus(
  "what cannot be read and wants an answer gets one, and is no dead letter; nor is a broadcast",
  async (bus) => {
    await using _log = await logged();
    const worker = await bus.serve(sums(bus.topic), sumHandlers());
    await using connection = await bus.connect();
    const target = { topic: bus.topic, version: "1".repeat(33) };
    assert.match(
      (await failureOf(connection.call(target, "add"))).message,
      /Refused the request: .*version/,
    );
    await connection.fanoutCast(target, "add");
    await until("both were refused", () => worker.stats.refused === 2);
    await using stranger = await Stranger.on(bus);
    await worker[Symbol.asyncDispose]();
    assert.equal(worker.stats.dead, 0);
    assert.deepEqual(await stranger.left(bus.topic), []);
  },
);

onRabbit(
  "a bad cast that cannot be kept goes back into its queue, and is kept when it can be",
  async (bus) => {
    await using log = await logged();
    await using connection = await bus.connect();
    await using stranger = await Stranger.on(bus);
    await using raw = await bus.raw();
    const dead = `${bus.topic}.dead`;
    await raw?.channel.assertQueue(dead, { durable: true, autoDelete: true }); // in another form
    await using worker = await bus.serve(sums(bus.topic), sumHandlers());
    await stranger.put(bus.topic, "junk", { headers: { kept: "yes" } });
    await until("it came again", () => worker.stats.refused >= 2);
    assert.equal(worker.stats.dead, 0);
    assert.match(log.lines.join(""), /goes back .*: its auto_?[dD]elete/);
    await raw?.channel.deleteQueue(dead);
    await until("it is kept", () => worker.stats.dead === 1, 30_000);
    const [letter] = await stranger.take(deadOf(bus.topic), 1);
    assert.equal(textOf(letter?.message.body ?? ""), "junk");
    assert.equal(letter?.message.headers.kept, "yes");
    assert.equal(connection.stats.refused, 0);
  },
);

const memory = () => {
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
};

onEachBus(
  "10 000 bad casts are kept, and neither stop the calls among them nor grow the worker or its log",
  async (bus) => {
    await using log = await logged();
    const began = performance.now();
    const FLOOD = 10_000;
    const api = sums(bus.topic);
    const worker = await bus.serve(api, sumHandlers(), { concurrency: 16 });
    await using connection = await bus.connect();
    await using stranger = await Stranger.on(bus);
    const client = connection.client(api);
    const body = crypto.getRandomValues(new Uint8Array(512));
    const used = memory();
    for (let sent = 0; sent < FLOOD; sent += 500) {
      const flood = Array.from(
        { length: 500 },
        () => stranger.put(bus.topic, body),
      );
      await Promise.all(flood);
      assert.equal(await client.call("add", { a: sent, b: 1 }), sent + 1);
    }
    await until("all are kept", () => worker.stats.dead === FLOOD, 30_000);
    assert.equal(log.times(/Refused a message/), FLOOD);
    const seconds = (performance.now() - began) / 1_000;
    const lines = log.lines.filter((line) => /Refused a/.test(line)).length;
    assert.ok(lines <= seconds + 2, `${lines} lines in ${seconds} s`);
    await until("the memory is free again", () => {
      new Array(100_000).fill({}); // garbage, so that some is collected
      return memory() < used + 64_000_000;
    }, 20_000);
    await worker[Symbol.asyncDispose]();
    assert.deepEqual(await stranger.left(bus.topic), []);
    const letters = await stranger.take(deadOf(bus.topic), FLOOD);
    assert.equal(letters.length, FLOOD);
  },
);

onRabbit(
  "what cannot be read is dropped on OpenStack's bus, as before",
  async (bus) => {
    await using _log = await logged();
    const options = { profile: "nova" } as const;
    await using worker = await bus.serve(
      sums(bus.topic),
      sumHandlers(),
      options,
    );
    await using raw = await bus.raw();
    raw?.channel.sendToQueue(bus.topic, Buffer.from("junk"));
    await until("it was refused", () => worker.stats.refused === 1);
    await worker.drain(1_000);
    assert.equal(worker.stats.dead, 0);
  },
);

/** Whatever arrives on the bus: no worker dies of it, none stops, none runs what its contract does not list. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { ConsumeMessage, Options } from "npm:amqplib@2.3.1";
import { inboxOf as lossyInbox } from "../../setup/lossy.ts";
import { until } from "../../setup/probe.ts";
import {
  type Bus,
  failureOf,
  onRabbit,
  type Raw,
  sumHandlers,
  sums,
} from "../support.ts";

const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
const address = { _msg_id: "call", _reply_q: "reply_nobody" };
const ask = (fields: object) =>
  JSON.stringify({
    method: "add",
    args: { a: 1, b: 2 },
    ...address,
    ...fields,
  });
const failure = (inner: string) =>
  JSON.stringify({ result: null, failure: inner, ...address });

/** Bodies that are no request, or one that must not be served. */
const BODIES: readonly (string | Uint8Array)[] = [
  "",
  "junk",
  "null",
  "[]",
  '"text"',
  "{}",
  "{",
  '{"a":1}{',
  "\ufeff{}",
  new Uint8Array([0xff, 0xfe, 0x00, 0x22]),
  new Uint8Array([0x22, 0xed, 0xa0, 0x80, 0x22]),
  crypto.getRandomValues(new Uint8Array(300)),
  nested(200_000),
  `[${"{},".repeat(200_000)}0]`,
  `{"method":"add","args":{"a":${nested(65)}}}`,
  JSON.stringify({ "oslo.version": "2.0", "oslo.message": "{}" }),
  JSON.stringify({ "oslo.version": {}, "oslo.message": [] }),
  ask({ args: [] }),
  ask({ args: null }),
  ask({ args: "x" }),
  ask({ args: { a: {}, b: [] } }),
  ask({ args: { toString: 1, valueOf: 2 } }),
  ask({ method: 5 }),
  ask({ method: null }),
  ask({ method: ["add"] }),
  ask({ method: { toString: "add" } }),
  ask({ version: "9.9" }),
  ask({ version: 1 }),
  ask({ version: {} }),
  ask({ version: "1".repeat(10_000) }),
  ask({ namespace: "other" }),
  ask({ namespace: {} }),
  ask({ namespace: "x".repeat(1_000) }),
  ask({ version: "9.9", _msg_id: 5 }),
  ask({ version: "9.9", _msg_id: {} }),
  ask({ version: "9.9", _msg_id: "" }),
  ask({ version: "9.9", _reply_q: [] }),
  ask({ version: "9.9", _reply_q: "" }),
  ask({ version: "9.9", _reply_q: "é".repeat(255) }),
  ask({ args: 1, _reply_q: "é".repeat(255) }),
  ask({ args: 1, _msg_id: "é".repeat(255) }),
  ask({ version: "9.9", _reply_q: "x".repeat(256) }),
  ask({ version: "9.9", _unique_id: 5 }),
  ask({ version: "9.9", _timeout: "soon" }),
  ask({ version: "9.9", _context_: 1, "_context___proto__": { a: 1 } }),
  '{"__proto__":{"polluted":1},"method":"add","args":{}}',
  '{"method":"add","args":{"__proto__":{"polluted":1}}}',
  '{"method":"add","args":{"\\u005f_proto__":{"polluted":1},"a":1,"b":2}}',
  '{"method":"nothing","args":{"constructor":{"prototype":{"polluted":1}}}}',
  ...[
    "constructor",
    "toString",
    "__proto__",
    "then",
    "initHost",
    "",
    "_x",
    "#x",
  ]
    .map((method) => ask({ method })),
  ask({ method: "x".repeat(65_536) }),
  ask({ method: "\u0430dd" }),
  ask({ method: "a\r\n\x1b[2Jdd" }),
  JSON.stringify({ result: 1, failure: null, ending: true, ...address }),
  JSON.stringify({ failure: { tb: [{ toString: 1 }] }, ...address }),
  failure('{"tb":[{"toString":1}]}'),
  failure(`{"tb":[${nested(100_000)}]}`),
  failure('{"class":"__proto__","kwargs":{"__proto__":{"polluted":1}}}'),
  JSON.stringify({ event_type: "a.b", message_id: "m", priority: "INFO" }),
  '[[2,"c",{}],[2,"d",{"warren-inbox":"amq.direct","warren-batch":"1"}]]\n{}[]',
  `[[${ask({}).length},"c",{}],[1,"d",{"warren":[[{}]]}]]\n${ask({})}x`,
];

/** Properties and headers, the usual and the odd. */
const PROPERTIES: readonly Options.Publish[] = [
  {},
  { contentType: "text/html", contentEncoding: "gzip" },
  { contentType: "", type: "x".repeat(200), appId: "a", messageId: "m" },
  { correlationId: "call", replyTo: "amq.direct", priority: 9 },
  { expiration: "60000", deliveryMode: 2, timestamp: 1 },
  { headers: { "warren-control": "cancel", "warren-call": "call" } },
  { headers: { "warren-control": {}, "warren-call": [] } },
  { headers: { warren: { a: 1 }, "warren-timeout": "soon" } },
  { headers: { warren: 1, "warren-timeout": -1 } },
  { headers: { warren: 1, "warren-timeout": 1e300 } },
  { headers: { warren: 1, "warren-sequence": 0, "warren-beat": "yes" } },
  { headers: { warren: "2", "warren-batch": "3" } },
  { headers: { warren: "2", "warren-batch": "2" } },
  { headers: { "x-death": [{ count: 1, reason: { deep: [[[1]]] } }] } },
  { headers: { at: { "!": "timestamp", value: 1 }, constructor: "x" } },
  { headers: { ["__proto__"]: { polluted: 1 }, toString: 1, é: null } },
];

/** Puts hostile messages on a queue; resolves when the broker has them. */
async function attack(raw: Raw, queue: string, from: number, count: number) {
  for (let i = from; i < from + count; i++) {
    const body = BODIES[i % BODIES.length] ?? "";
    const properties =
      PROPERTIES[Math.floor(i / BODIES.length) % PROPERTIES.length];
    raw.channel.sendToQueue(queue, Buffer.from(body as string), properties);
  }
  await raw.channel.waitForConfirms();
}

/** The inbox to which a caller wants its answers, as anybody on the bus can see it. */
async function inboxOf(bus: Bus, raw: Raw, call: () => Promise<unknown>) {
  const { queue } = await raw.channel.assertQueue("", { exclusive: true });
  await raw.channel.bindQueue(queue, "warren", bus.topic);
  await call();
  const copy = await raw.channel.get(queue, { noAck: true });
  assert.ok(copy);
  await raw.channel.deleteQueue(queue);
  return JSON.parse(copy.content.toString())._reply_q as string;
}

const memory = () => {
  const { heapUsed, external } = Deno.memoryUsage();
  return heapUsed + external;
};

onRabbit(
  "a worker serves 1000 good calls among 10 000 hostile messages",
  async (bus) => {
    const before = Reflect.ownKeys(Object.prototype);
    const added: unknown[] = [];
    const api = sums(bus.topic);
    const worker = await bus.serve(
      api,
      sumHandlers({ add: ({ a, b }) => (added.push([a, b]), a + b) }),
    );
    await using connection = await bus.connect();
    await using raw = await bus.raw() as Raw;
    const client = connection.client(api);
    const add = (a: number) => client.call("add", { a, b: 1 });
    const inbox = await inboxOf(bus, raw, () => add(-1));
    const used = memory();
    const huge = Buffer.alloc(2_000_000, "[");
    for (let round = 0; round < 100; round++) {
      const calls = Array.from({ length: 10 }, (_, i) => add(round * 10 + i));
      await attack(raw, bus.topic, round * 100, 100);
      await attack(raw, inbox, round * 100, 20);
      if (round % 30 === 0) raw.channel.sendToQueue(bus.topic, huge);
      const expected = calls.map((_, i) => round * 10 + i + 1);
      assert.deepEqual(await Promise.all(calls), expected);
    }
    await until("all were looked at", () => {
      const { refused, failed, active } = worker.stats;
      return active === 0 && refused + failed >= 10_000;
    }, 30_000);
    const { refused } = worker.stats;
    assert.ok(refused > 5_000, `${refused} refused`);
    assert.equal(
      added.length,
      1_001,
      "the handler ran for the good calls alone",
    );
    await until("the memory is free again", () => {
      new Array(100_000).fill({}); // garbage, so that some is collected
      return memory() < used + 64_000_000;
    }, 20_000);
    await worker[Symbol.asyncDispose]();
    const { messageCount } = await raw.channel.checkQueue(bus.topic);
    assert.equal(messageCount, 0, "nothing was left unacknowledged");
    assert.deepEqual(Reflect.ownKeys(Object.prototype), before);
    assert.equal((({}) as { polluted?: unknown }).polluted, undefined);
  },
);

onRabbit(
  "junk and forged replies in the inbox settle no call but the one that they know",
  async (bus) => {
    const api = sums(bus.topic);
    const open = Promise.withResolvers<void>();
    await using _worker = await bus.serve(
      api,
      sumHandlers({ wait: () => open.promise }),
    );
    await using connection = await bus.connect();
    await using raw = await bus.raw() as Raw;
    const client = connection.client(api);
    const inbox = await inboxOf(
      bus,
      raw,
      () => client.call("add", { a: 1, b: 1 }),
    );
    let settled = 0;
    const calls = Array.from(
      { length: 20 },
      () => client.call("wait").finally(() => settled++),
    );
    const forged = ["0".repeat(32), "constructor", "__proto__", "toString", ""];
    for (const id of forged) {
      for (const ending of [true, false]) {
        const body = { result: "forged", failure: null, ending, _msg_id: id };
        raw.channel.sendToQueue(inbox, Buffer.from(JSON.stringify(body)));
        raw.channel.sendToQueue(
          inbox,
          Buffer.from('{"result":1,"ending":true}'),
          {
            correlationId: id,
          },
        );
      }
      raw.channel.sendToQueue(inbox, Buffer.from("{}"), {
        headers: { "warren-control": "cancel", "warren-call": id },
      });
    }
    await raw.channel.waitForConfirms();
    assert.equal(await client.call("add", { a: 2, b: 2 }), 4, "they were read");
    assert.equal(settled, 0);
    open.resolve();
    assert.deepEqual(await Promise.all(calls), calls.map(() => undefined));
    const { messageCount } = await raw.channel.checkQueue(inbox);
    assert.equal(messageCount, 0);
  },
);

onRabbit(
  "a message above the limit is refused by its sender, and the connection stays",
  async (bus) => {
    const api = sums(bus.topic);
    await using _worker = await bus.serve(api, sumHandlers());
    await using connection = await bus.connect();
    const client = connection.client(api);
    const tag = "x".repeat(1024 * 1024);
    assert.match(
      (await failureOf(client.call("wait", { tag }))).message,
      /1048576/,
    );
    assert.match(
      (await failureOf(client.cast("wait", { tag }))).message,
      /1048576/,
    );
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
  },
);

const long = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const sized = (bytes: Buffer) => Buffer.concat([long(bytes.length), bytes]);
const fieldOf = (value: Buffer) =>
  Buffer.concat([Buffer.from([1, 0x61]), value]);
function arrays(depth: number): Buffer {
  let value: Buffer = Buffer.from("V");
  for (let i = 0; i < depth; i++) {
    value = Buffer.concat([Buffer.from("A"), sized(value)]);
  }
  return value;
}

/** Fields of different names: of those with one name, RabbitMQ 4 passes on one. */
function numbered(length: number): Buffer {
  return Buffer.concat(Array.from({ length }, (_, n) => {
    const text = Buffer.from(`${n}`);
    return Buffer.concat([Buffer.from([text.length]), text, Buffer.from("V")]);
  }));
}

/** Tables of headers, as bytes: of an old type, too deep, too many values, many names with a meaning. */
const TABLES: readonly Buffer[] = [
  fieldOf(Buffer.from("L12345678")),
  fieldOf(arrays(4_196)),
  numbered(10_000),
  Buffer.concat([
    numbered(6_000),
    Buffer.from("\x09__proto__V".repeat(7_000)),
  ]),
];

onRabbit(
  "headers that cannot be read are one message: refused, settled and counted, beside good calls",
  async (bus) => {
    const api = sums(bus.topic);
    const worker = await bus.serve(api, sumHandlers());
    await using connection = await bus.connect();
    await using raw = await bus.raw() as Raw;
    const client = connection.client(api);
    const inbox = await inboxOf(
      bus,
      raw,
      () => client.call("add", { a: 1, b: 1 }),
    );
    const body = JSON.stringify({ method: "add", args: { a: 1, b: 1 } });
    const { queue } = await raw.channel.assertQueue("", { exclusive: true });
    for (const [n, table] of TABLES.entries()) {
      const asked = { correlationId: "call", replyTo: queue };
      await raw.table(bus.topic, sized(table), body);
      await raw.table(bus.topic, sized(table), body, asked);
      await raw.table(inbox, sized(table), "{}");
      assert.equal(await client.call("add", { a: n, b: 1 }), n + 1);
    }
    // The first is read: RabbitMQ knows its type, and so do we.
    const bad = TABLES.length - 1;
    await until("all are settled", () => {
      const { refused, dead, active } = worker.stats;
      return refused === 2 * bad && dead === bad && active === 0;
    });
    assert.equal(worker.health().consuming.losses, 0);
    for (let n = 0; n < bad; n++) {
      const answer = await raw.channel.get(queue, { noAck: true });
      assert.ok(answer, "an answer");
      assert.match(answer.content.toString(), /its table of headers: it/);
    }
    await worker[Symbol.asyncDispose]();
    const { messageCount } = await raw.channel.checkQueue(bus.topic);
    assert.equal(messageCount, 0);
    const dead = await raw.channel.checkQueue(`${bus.topic}.dead`);
    assert.equal(dead.messageCount, bad);
  },
);

onRabbit(
  "thousands of names in one table of headers keep the event loop for no time that good calls would notice",
  async (bus) => {
    const api = sums(bus.topic);
    await using worker = await bus.serve(api, sumHandlers());
    await using connection = await bus.connect();
    const client = connection.client(api, { timeout: 5_000 });
    await using raw = await bus.raw() as Raw;
    const field = (name: string) =>
      Buffer.from([name.length, ...Buffer.from(name), 116, 1]); // a boolean
    const names = Array.from({ length: 6_000 }, (_, n) => field(`${n}`));
    const same = Array.from({ length: 6_000 }, () => field("__proto__"));
    const fields = Buffer.concat([...names, ...same]);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(fields.length);
    const table = Buffer.concat([length, fields]);
    const before = worker.stats.refused;
    for (let n = 0; n < 20; n++) {
      await raw.table(bus.topic, table, "junk");
      assert.equal(await client.call("add", { a: n, b: 1 }), n + 1);
    }
    await until("all are refused", () => worker.stats.refused === before + 20);
    assert.equal(worker.stats.blocked, 0);
  },
);

onRabbit(
  "one question for what was missed is answered with one stream, though many have the id of one call, beside good calls",
  async (bus) => {
    const STREAMS = 100, ITEMS = 5;
    const api = sums(bus.topic);
    const worker = await bus.serve(api, sumHandlers());
    await using connection = await bus.connect();
    await using raw = await bus.raw() as Raw;
    const client = connection.client(api);
    const { channel } = raw;
    const { queue } = await channel.assertQueue("", { exclusive: true });
    const headers = { warren: "1", "warren-credit": `${2 * ITEMS}` };
    const call = crypto.randomUUID();
    for (let n = 0; n < STREAMS; n++) {
      const body = {
        ...{ method: "count", args: { to: ITEMS }, _msg_id: call },
        ...{ _reply_q: queue, _timeout: null, _unique_id: `${call}${n}` },
      };
      const bytes = Buffer.from(JSON.stringify(body));
      channel.sendToQueue(bus.topic, bytes, { headers });
    }
    await until("all have ended", () => worker.stats.handled === STREAMS);
    const sent = (await channel.purgeQueue(queue)).messageCount;
    assert.ok(sent >= STREAMS * (ITEMS + 1), "and signs of life");
    const control = {
      "warren-control": "resume",
      "warren-call": call,
      "warren-sequence": "1",
    };
    for (let n = 0; n < 20; n++) {
      channel.sendToQueue(lossyInbox(bus.url).name, Buffer.from("{}"), {
        headers: control,
        replyTo: queue,
      });
    }
    await channel.waitForConfirms();
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    await until("something was said again", async () => {
      const { messageCount } = await channel.checkQueue(queue);
      return messageCount > 0;
    });
    await worker[Symbol.asyncDispose]();
    const { messageCount: again } = await channel.checkQueue(queue);
    assert.ok(again <= 2 * (ITEMS + 1), `${again} messages`);
  },
);

onRabbit(
  "a worker that sends beyond the credit ends its own stream, and keeps no memory of its reader, beside good calls",
  async (bus) => {
    const api = sums(bus.topic);
    await using _worker = await bus.serve(api, sumHandlers());
    await using connection = await bus.connect();
    await using raw = await bus.raw() as Raw;
    const { channel } = raw;
    const bad = sums(bus.name("bad"));
    await (await bus.serve(bad, sumHandlers()))[Symbol.asyncDispose](); // it made the queue
    const stream = connection.client(bad).multicall("count", { to: 1 });
    const first = stream.next();
    const asked = Promise.withResolvers<string>();
    const take = (message: ConsumeMessage | null) =>
      asked.resolve(`${message?.content}`);
    await channel.consume(bad.topic, take, { noAck: true });
    const { _msg_id, _reply_q } = JSON.parse(await asked.promise);
    const body = JSON.stringify({ result: 7, failure: null, _msg_id });
    for (let n = 1; n < 5_000; n++) {
      const headers = {
        warren: "2",
        "warren-sequence": `${n}`,
        "warren-run": "r",
      };
      channel.sendToQueue(_reply_q, Buffer.from(body), { headers });
    }
    await channel.waitForConfirms();
    assert.equal((await first).value, 7);
    const client = connection.client(api);
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    const failure = await failureOf((async () => {
      for await (const _ of stream);
    })());
    assert.match(failure.message, /beyond its credit/);
  },
);

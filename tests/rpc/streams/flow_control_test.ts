/** Streams go no faster than they are read. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type * as amqp from "npm:amqplib@2.3.1";
import { z } from "npm:zod@^4.6.7";
import {
  type ConnectionContext,
  contract,
  createConnection,
  type Handlers,
  InterruptedError,
  TimeoutError,
} from "../../../mod.ts";
import type { Credit } from "../../../src/rpc/control_targets.ts";
import { SendWindow } from "../../../src/rpc/streams/flow_control.ts";
import { StreamReceiver } from "../../../src/rpc/streams/stream_receiver.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { proxyTo } from "../../setup/proxy.ts";
import {
  all,
  type Bus,
  failureOf,
  onEachBus,
  onRabbit,
  type Raw,
  sumHandlers,
  type Sums,
  sums,
} from "../support.ts";

/** A worker of numbers, how far it is, and who asks it. */
async function open(bus: Bus) {
  const state = { yielded: 0, ended: false };
  const count: Handlers<Sums>["count"] = async function* ({ to }, { signal }) {
    try {
      for (let n = 1; n <= to && !signal.aborted; n++) {
        state.yielded = n;
        yield n;
      }
      if (to === 0) {
        await new Promise<void>((ended) => signal.onabort = () => ended());
      }
    } finally {
      state.ended = true;
    }
  };
  const handlers = sumHandlers({ count });
  const worker = await bus.serve(sums(bus.topic), handlers, { grace: 100 });
  const connection = await bus.connect();
  const client = connection.client(sums(bus.topic));
  /** Resolves when the stream has not moved during some round trips to its worker. */
  const rest = async () => {
    for (let still = 0, last = -1; still < 5; last = state.yielded) {
      await client.call("add", { a: 1, b: 2 });
      still = last === state.yielded ? still + 1 : 0;
    }
  };
  return { state, worker, connection, client, rest };
}

async function close(...all: ConnectionContext[]): Promise<void> {
  for (const each of all) await each[Symbol.asyncDispose]();
}

onEachBus("a worker is at most 32 items ahead of its reader", async (bus) => {
  const { state, worker, connection, client, rest } = await open(bus);
  const stream = client.multicall("count", { to: 1_000 });
  const read: unknown[] = [(await stream.next()).value];
  await until("it is ahead", () => state.yielded === 32);
  await rest();
  assert.equal(state.yielded, 32);
  while (read.length < 16) read.push((await stream.next()).value);
  await until("it goes on", () => state.yielded === 48);
  await rest();
  assert.equal(state.yielded, 48);
  read.push(...await all(stream));
  assert.deepEqual(read, Array.from({ length: 1_000 }, (_, i) => i + 1));
  assert.equal(state.ended, true);
  await close(connection, worker);
});

onRabbit(
  "a worker is up to 1024 items ahead of a reader that has been fast",
  async (bus) => {
    const { state, worker, connection, client, rest } = await open(bus);
    const stream = client.multicall("count", { to: 30_000 });
    for (let n = 1; n <= 20_000; n++) {
      assert.equal((await stream.next()).value, n);
    }
    await rest();
    const ahead = state.yielded - 20_000;
    assert.ok(ahead >= 128 && ahead <= 1_024, `${ahead}`);
    assert.equal((await all(stream)).length, 10_000);
    await close(connection, worker);
  },
);

const texts = (topic: string) =>
  contract({
    topic,
    version: "1.0",
    procedures: {
      repeat: {
        args: z.object({ sizes: z.array(z.int()) }),
        yields: z.string(),
      },
    },
  });

onRabbit(
  "unread items have a megabyte at most, or are 32, also where they become large",
  async (bus) => {
    let yielded = 0;
    const topic = bus.name("texts");
    await using _worker = await bus.serve(texts(topic), {
      async *repeat({ sizes }) {
        for (const size of sizes) {
          yielded++;
          yield "x".repeat(size);
        }
      },
    });
    await using connection = await bus.connect();
    const sizes = [10, 5_000, 50_000, 10].flatMap((size) =>
      Array<number>(size === 50_000 ? 100 : 5_000).fill(size)
    );
    const stream = connection.client(texts(topic)).multicall("repeat", {
      sizes,
    });
    let read = 0, most = 0;
    for await (const text of stream) {
      assert.equal(text.length, sizes[read++]);
      const unread = sizes.slice(read, yielded);
      const bytes = unread.slice(0, -1).reduce((sum, size) => sum + size, 0);
      most = Math.max(most, bytes);
      assert.ok(bytes <= 1024 * 1024 || unread.length <= 32, `${bytes}`);
    }
    assert.equal(read, sizes.length);
    assert.ok(most > 512 * 1024, `${most}`);
  },
);

onEachBus("streams of 31 to 33 items end", async (bus) => {
  const { worker, connection, client } = await open(bus);
  for (const to of [31, 32, 33]) {
    assert.equal((await all(client.multicall("count", { to }))).length, to);
  }
  await close(connection, worker);
});

onEachBus(
  "a reader that takes its time is not told that its worker is silent",
  async (bus) => {
    const { state, worker, connection, client } = await open(bus);
    const slow = client.multicall("count", { to: 100 }, { timeout: 300 });
    await slow.next();
    await until("it waits for its reader", () => state.yielded === 32);
    const silent = client.multicall("count", { to: 0 }, { timeout: 600 });
    assert.ok(await failureOf(silent.next()) instanceof TimeoutError); // twice the time has passed
    assert.equal((await all(slow)).length, 99);
    await close(connection, worker);
  },
);

onEachBus(
  "once it has caught up, the silence of a worker counts again",
  async (bus) => {
    const { state, worker, connection, client } = await open(bus);
    state.yielded = 0;
    const stuck = sumHandlers({
      async *count(_, { signal }) {
        for (let n = 1; n <= 20; n++) yield n;
        await new Promise<void>((ended) => signal.onabort = () => ended());
      },
    });
    const other = sums(bus.name("stuck"));
    await using _worker = await bus.serve(other, stuck, { grace: 0 });
    const stream = connection.client(other).multicall("count", { to: 1 }, {
      timeout: 300,
    });
    await stream.next();
    const silent = client.multicall("count", { to: 0 }, { timeout: 600 });
    await failureOf(silent.next());
    const read: number[] = [];
    const error = await failureOf((async () => {
      for await (const n of stream) read.push(n);
    })());
    assert.ok(error instanceof TimeoutError, String(error));
    assert.equal(read.length, 19);
    await close(connection, worker);
  },
);

onEachBus("a stream that waits for its reader ends with him", async (bus) => {
  const { state, worker, connection, client } = await open(bus);
  const stream = client.multicall("count", { to: 1_000 });
  await stream.next();
  await until("it is ahead", () => state.yielded === 32);
  await stream.return();
  await until("it has ended", () => state.ended);
  await until("it is out of hand", () => worker.stats.active === 0);
  assert.equal(state.yielded, 32);
  await close(connection, worker);
});

onEachBus(
  "a stream that waits for its reader does not keep its worker",
  async (bus) => {
    const { state, worker, connection, client } = await open(bus);
    const stream = client.multicall("count", { to: 1_000 });
    await stream.next();
    await until("it is ahead", () => state.yielded === 32);
    await close(worker);
    assert.equal(state.ended, true);
    const read: number[] = [];
    const error = await failureOf((async () => {
      for await (const n of stream) read.push(n);
    })());
    assert.ok(error instanceof InterruptedError, String(error));
    assert.equal(read.length, 31);
    await close(connection);
  },
);

onEachBus("a call of a stream gets its last item", async (bus) => {
  const { worker, connection } = await open(bus);
  const { topic } = bus;
  assert.equal(await connection.call({ topic }, "count", { to: 100 }), 100);
  await close(connection, worker);
});

/** A reader that is not Warren: what comes to a queue of its own, where it says nothing of what it has read. */
async function foreign(bus: Bus, raw: Raw, options: amqp.Options.AssertQueue) {
  const { channel } = raw;
  const { queue } = await channel.assertQueue(bus.name("answers"), options);
  const came: Record<string, unknown>[] = [];
  const ask = (to: number, expiration?: number) => {
    const body = { method: "count", args: { to }, version: "1.0" };
    const reply = { _msg_id: "call", _reply_q: queue, _timeout: null };
    const bytes = Buffer.from(JSON.stringify({ ...body, ...reply }));
    channel.publish("warren", bus.topic, bytes, {
      ...expiration && { expiration },
    });
  };
  const consume = async (prefetch: number, noAck = false) => {
    await channel.prefetch(prefetch);
    const { consumerTag } = await channel.consume(queue, (message) => {
      if (message) came.push(JSON.parse(`${message.content}`));
    }, { noAck });
    return consumerTag;
  };
  const waiting = async () => (await channel.checkQueue(queue)).messageCount;
  return { queue, came, ask, consume, waiting };
}

onRabbit(
  "a stream waits for a reader without credit while 1000 items are unread, and ends when nobody reads",
  async (bus) => {
    const { state, worker, connection, rest } = await open(bus);
    await using raw = await bus.raw() as Raw;
    const { came, ask, consume, waiting } = await foreign(bus, raw, {});
    const slow = await consume(10);
    ask(1_000_000);
    await until("it waits", () => state.yielded === 1_250);
    await rest();
    assert.deepEqual([state.yielded, came.length], [1_250, 10]);
    assert.equal(await waiting(), 1_240);
    await raw.channel.cancel(slow);
    const fast = await consume(0, true);
    await until("it goes on", () => came.length > 3_000);
    assert.equal(state.ended, false);
    await raw.channel.cancel(fast);
    await until("nobody reads, so it has ended", () => state.ended, 30_000);
    await until("it is out of hand", () => worker.stats.active === 0);
    assert.ok(await waiting() <= 1_500, `${await waiting()} are left`);
    const items = came.slice(10).map(({ result }) => result);
    assert.deepEqual(items, items.map((_, n) => n + 11)); // none is lost
    await close(connection, worker);
  },
);

onRabbit(
  "a stream that waits for a reader without credit ends at his deadline, and when its worker stops",
  async (bus) => {
    for (const stop of [false, true]) {
      const { state, worker, connection } = await open(bus);
      await using raw = await bus.raw() as Raw;
      const { queue, ask, consume } = await foreign(bus, raw, {});
      await consume(10);
      const asked = performance.now();
      ask(1_000_000, stop ? undefined : 2_000);
      await until("it waits", () => state.yielded === 1_250);
      if (stop) await close(worker);
      else await until("it has ended", () => state.ended);
      const took = performance.now() - asked;
      assert.equal(state.ended, true);
      assert.equal(state.yielded, 1_250);
      if (!stop) assert.ok(took >= 1_900 && took < 6_000, `${took} ms`);
      await close(connection, worker);
      await raw.channel.deleteQueue(queue);
    }
  },
);

onRabbit(
  "a stream to an exclusive queue ends after 10 000 items, and its reader is told",
  async (bus) => {
    await using log = await logged();
    const { state, worker, connection } = await open(bus);
    await using raw = await bus.raw() as Raw;
    const exclusive = { exclusive: true };
    const { came, ask, consume } = await foreign(bus, raw, exclusive);
    await consume(0, true);
    ask(1_000_000);
    await until("it has ended", () => came.at(-1)?.ending === true, 30_000);
    const last = came.pop();
    assert.match(
      JSON.stringify(last?.failure),
      /InterruptedError.*exclusive/,
    );
    assert.deepEqual([came.length, came.at(-1)?.result], [10_000, 10_000]);
    assert.equal(state.ended, true);
    came.length = 0;
    ask(9_999);
    await until("all came", () => came.at(-1)?.ending === true, 30_000);
    assert.deepEqual([came.length, last?.ending], [10_000, true]);
    assert.equal(came.at(-1)?.failure ?? null, null);
    await close(connection, worker);
    assert.ok(log.lines.some((line) => /exclusive/.test(line)));
  },
);

Deno.test("credit that was lost is said again at a sign of life", async () => {
  const said: number[] = [];
  const rivals: unknown[] = [];
  const items = new StreamReceiver({
    onProgress() {},
    onReply() {},
    onRival: (inbox) => void rivals.push(inbox),
    onCredit: ({ upTo }) => void said.push(upTo),
    onEnd() {},
  });
  const common = { kind: "reply", run: "r", ending: false } as const;
  for (let sequence = 1; sequence <= 20; sequence++) {
    items.receive({ ...common, sequence, result: sequence }, 1);
  }
  for (let n = 0; n < 16; n++) await items.next();
  assert.deepEqual(said, [48]);
  items.receive({ ...common, heartbeat: true }, 1);
  assert.deepEqual(said, [48, 48]);
  items.receive({ ...common, heartbeat: true, sequence: 20 }, 1); // all are here
  assert.deepEqual(said, [48, 48, 48]);
  const another = { ...common, run: "another", inbox: "elsewhere" };
  items.receive({ ...another, heartbeat: true, sequence: 30 }, 1);
  assert.deepEqual([said.length, rivals], [3, ["elsewhere"]]);
});

/** A stream of which nothing is sent, and the credit that its reader has granted. */
function receiver() {
  const credits: Credit[] = [];
  const items = new StreamReceiver({
    onProgress() {},
    onReply() {},
    onRival() {},
    onCredit: (credit) => void credits.push(credit),
    onEnd() {},
  });
  let sequence = 0;
  const receive = (window?: number, bytes = 1) =>
    items.receive(
      {
        kind: "reply",
        runId: "r",
        ending: false,
        sequence: ++sequence,
        window,
      },
      bytes,
    );
  return { items, receive, last: () => credits.at(-1) };
}

Deno.test("a window grows when its worker and its reader wait for each other", async () => {
  const { items, receive, last } = receiver();
  for (let n = 0; n < 32; n++) receive();
  for (let n = 0; n < 32; n++) await items.next();
  assert.deepEqual(last(), { upTo: 64, read: 32 });
  receive(1_024); // which nobody awaits
  await items.next();
  assert.deepEqual(last(), { upTo: 64, read: 32 });
  for (let size = 64, read = 33; size <= 1_024; size *= 2) {
    const next = items.next();
    receive(1_024);
    await next;
    assert.deepEqual(last(), { upTo: ++read + size, read });
    for (const end = read + size / 2; read < end; read++) {
      receive();
      await items.next();
    }
  }
  const before = last();
  const next = items.next();
  receive(1_000_000);
  await next;
  assert.deepEqual(last(), before, "it has its largest size");
});

Deno.test("a window does not grow for a worker that does not say what it can store", async () => {
  const { items, receive, last } = receiver();
  for (let read = 1; read <= 1_000; read++) {
    const next = items.next();
    receive();
    await next;
    if (read % 16 === 0) assert.deepEqual(last(), { upTo: read + 32, read });
  }
  const next = items.next();
  receive(40);
  await next;
  while (Number(last()?.read) < 1_003) {
    receive();
    await items.next();
  }
  const { upTo = 0, read = 0 } = last() ?? {};
  assert.equal(upTo - read, 40, "nor more than it says");
});

Deno.test("large items are granted before half of the window is read", async () => {
  const { items, receive, last } = receiver();
  for (let n = 0; n < 10; n++) receive(undefined, 200_000);
  assert.ok(items.full, "the worker may wait");
  for (let n = 0; n < 2; n++) await items.next();
  assert.equal(last(), undefined);
  await items.next();
  assert.deepEqual(last(), { upTo: 35, read: 3 });
  for (let n = 0; n < 5; n++) await items.next();
  assert.deepEqual([last()?.read, items.full], [6, false]);
});

onRabbit(
  "an older reader gets 32 items at a time, and again what it has missed",
  async (bus) => {
    const { state, worker, connection, rest } = await open(bus);
    await using raw = await bus.raw() as Raw;
    const { channel } = raw;
    const { queue } = await channel.assertQueue("", { exclusive: true });
    const came: { sequence: number; inbox: string; heads: number }[] = [];
    await channel.consume(queue, (message) => {
      const { content: body, properties } = message as amqp.ConsumeMessage;
      const { headers = {} } = properties;
      const heads = "warren-batch" in headers
        ? JSON.parse(`${body}`.split("\n", 1)[0] ?? "")
        : [[body.length, "", headers]];
      for (const [, , headers] of heads) {
        if (headers["warren-beat"]) continue;
        const sequence = Number(headers["warren-sequence"]);
        const inbox = headers["warren-inbox"];
        came.push({ sequence, inbox, heads: heads.length });
      }
    }, { noAck: true });
    const ids = { _msg_id: bus.topic, _reply_q: queue, _timeout: null };
    const body = { method: "count", args: { to: 100_000 }, ...ids };
    channel.publish("warren", bus.topic, Buffer.from(JSON.stringify(body)), {
      headers: {
        warren: "2",
        "warren-timeout": "60000",
        "warren-credit": "32",
      },
    });
    const say = (command: string, credit: number, more = {}) =>
      channel.publish("", String(came[0]?.inbox), Buffer.from("{}"), {
        replyTo: queue,
        headers: {
          "warren-control": command,
          "warren-call": bus.topic,
          "warren-credit": `${credit}`,
          ...more,
        },
      });
    for (let read = 0; read <= 3_200; read += 16) {
      if (read > 0) say("credit", read + 32);
      await until("it goes on", () => came.length === read + 32, 30_000);
    }
    await rest();
    assert.equal(state.yielded, 3_232);
    const numbers = () => came.map(({ sequence }) => sequence);
    assert.deepEqual(numbers(), Array.from({ length: 3_232 }, (_, i) => i + 1));
    assert.ok(came.some(({ heads }) => heads > 1), "in batches");
    say("resume", 3_232, { "warren-sequence": "3202" });
    await until("it comes again", () => came.length === 3_232 + 31);
    assert.deepEqual(numbers().slice(-31), numbers().slice(3_201, 3_232));
    say("cancel", 1);
    await until("it has ended", () => state.ended);
    await close(connection, worker);
  },
);

onRabbit(
  "items that were lost are missed, also when no other follows, and come again",
  async (bus) => {
    const gate = Promise.withResolvers<void>();
    const handlers = sumHandlers({
      async *count() {
        for (let n = 1;; n++) {
          if (n === 6) await gate.promise;
          yield n;
        }
      },
    });
    await using _worker = await bus.serve(sums(bus.topic), handlers, {
      grace: 0,
    });
    await using raw = await bus.raw();
    const { channel } = raw as Raw;
    // Whoever is bound to the topic sees where the answers go.
    const inbox = Promise.withResolvers<string>();
    const spy = await channel.assertQueue("", { exclusive: true });
    await channel.bindQueue(spy.queue, "warren", bus.topic);
    const see = (message: { properties: { replyTo: string } } | null) =>
      inbox.resolve(String(message?.properties.replyTo));
    await channel.consume(spy.queue, see, { noAck: true });

    await using proxy = proxyTo(bus.url);
    await using connection = await createConnection(proxy.url(bus.url));
    const client = connection.client(sums(bus.topic));
    const stream = client.multicall("count", { to: 0 });
    for (let n = 0; n < 5; n++) await stream.next();
    const next = stream.next();
    proxy.refuse(true);
    proxy.reset();
    gate.resolve();
    const queue = await inbox.promise;
    for (let lost = 0; lost < 27;) { // as with a broker that starts anew
      const message = await channel.get(queue, { noAck: true });
      const headers = message && message.properties.headers;
      if (headers) lost += Number(headers["warren-batch"] ?? 1);
    }
    await channel.purgeQueue(queue); // a sign of life may have been taken for an item
    proxy.refuse(false);
    assert.equal((await next).value, 6);
    for (let n = 7; n <= 100; n++) assert.equal((await stream.next()).value, n);
    await stream.return();
  },
);

Deno.test("a reader that gives any credit is believed for 10 000 items at a time", () => {
  const credit = new SendWindow(1e9);
  const hasRoom = (item: number) => !credit.exceeds(item);
  assert.deepEqual([hasRoom(10_000), hasRoom(10_001)], [
    true,
    false,
  ]);
  credit.grant(1e9);
  assert.deepEqual([hasRoom(20_001), hasRoom(20_002)], [
    true,
    false,
  ]);
});

/** What is lost of a stream on its way comes again from the run that sent it. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  createConnection,
  InterruptedError,
  InvalidValueError,
} from "../../../mod.ts";
import { ControlTargets } from "../../../src/rpc/control_targets.ts";
import {
  FinishedStreams,
  ReplayBuffer,
} from "../../../src/rpc/streams/replay_buffer.ts";
import type { Message } from "../../../src/transport/transport.ts";
import type { Reply } from "../../../src/wire/rpc_message.ts";
import { encodeControl } from "../../../src/wire/codec.ts";
import { privateBroker, rabbitmqServer } from "../../setup/broker.ts";
import { inboxOf, lose } from "../../setup/lossy.ts";
import { until } from "../../setup/probe.ts";
import { proxyTo } from "../../setup/proxy.ts";
import {
  all,
  Bus,
  failureOf,
  onEachBus,
  onRabbit,
  type Raw,
  sumHandlers,
  sums,
} from "../support.ts";

const upTo = (n: number) => Array.from({ length: n }, (_, at) => at + 1);

/** True once for each of the numbers. */
function once(...numbers: number[]): (reply: Reply) => boolean {
  const left = new Set(numbers);
  return ({ heartbeat, sequence }) =>
    !heartbeat && left.delete(Number(sequence));
}

onEachBus("items that were lost come again, in order and once", async (bus) => {
  await using worker = await bus.serve(sums(bus.topic), sumHandlers());
  await using connection = await bus.connect();
  lose(bus.url, once(10, 11, 12, 40, 99, 100));
  const client = connection.client(sums(bus.topic));
  const stream = client.multicall("count", { to: 100 });
  assert.deepEqual(await all(stream), upTo(100));
  assert.equal(worker.stats.handled, 1);
});

onRabbit(
  "items that were lost from a large window come again",
  async (bus) => {
    await using worker = await bus.serve(sums(bus.topic), sumHandlers());
    await using connection = await bus.connect();
    const windows: number[] = [];
    const { targets } = inboxOf(bus.url);
    const grant = targets.grant.bind(targets);
    targets.grant = (call, credit) => {
      windows.push(credit.upTo - Number(credit.read));
      grant(call, credit);
    };
    const lost = upTo(900).map((n) => 12_000 + n);
    lose(bus.url, once(...lost, 11_000, 14_000, 15_000));
    const client = connection.client(sums(bus.topic));
    const stream = client.multicall("count", { to: 20_000 });
    assert.deepEqual(await all(stream), upTo(20_000));
    await until("it has ended", () => worker.stats.handled === 1);
    assert.ok(Math.max(...windows) >= 256, `${Math.max(...windows)}`);
  },
);

onEachBus("the first items that were lost come again", async (bus) => {
  await using _worker = await bus.serve(sums(bus.topic), sumHandlers());
  await using connection = await bus.connect();
  lose(bus.url, once(...upTo(32)));
  const client = connection.client(sums(bus.topic));
  assert.deepEqual(await all(client.multicall("count", { to: 50 })), upTo(50));
});

onEachBus(
  "an ending that was lost comes again, be it an error",
  async (bus) => {
    const handlers = sumHandlers({
      async *count({ to }) {
        for (let n = 1; n <= to; n++) yield n;
        if (to === 1) throw new InvalidValueError("Enough");
      },
    });
    await using _worker = await bus.serve(sums(bus.topic), handlers);
    await using connection = await bus.connect();
    const lost = new Set<unknown>();
    lose(bus.url, ({ ending, runId }) => {
      if (!ending || lost.has(runId)) return false;
      lost.add(runId);
      return true;
    });
    const client = connection.client(sums(bus.topic));
    const failed = failureOf(all(client.multicall("count", { to: 1 })));
    const read = all(client.multicall("count", { to: 20 }));
    assert.deepEqual(await read, upTo(20));
    assert.match((await failed).message, /Enough/);
    assert.equal(lost.size, 2);
    assert.ok(!lost.has(undefined));
  },
);

onEachBus(
  "what is lost again and again ends the stream with the last number",
  async (bus) => {
    await using _worker = await bus.serve(sums(bus.topic), sumHandlers());
    await using connection = await bus.connect();
    let asked = 0;
    lose(bus.url, ({ heartbeat, sequence }) => {
      if (heartbeat || sequence !== 10) return false;
      asked++;
      return true;
    });
    const client = connection.client(sums(bus.topic));
    const limit = { timeout: 2_000 };
    const stream = client.multicall("count", { to: 100 }, limit);
    for (let n = 1; n < 10; n++) assert.equal((await stream.next()).value, n);
    const error = await failureOf(stream.next());
    assert.ok(error instanceof InterruptedError, String(error));
    assert.deepEqual(error.data, { sequence: 9 });
    assert.match(error.message, /Items 10 to \d+ were lost/);
    assert.ok(asked > 2);
  },
);

onRabbit(
  "an ending that was lost comes again as soon as the link is back",
  async (bus) => {
    await using _worker = await bus.serve(sums(bus.topic), sumHandlers());
    await using proxy = proxyTo(bus.url);
    const url = proxy.url(bus.url);
    await using connection = await createConnection(url);
    const ended = Promise.withResolvers<void>();
    let lost = 0;
    lose(url, ({ ending }) => {
      if (!ending || lost++ > 0) return false;
      ended.resolve();
      return true;
    });
    const client = connection.client(sums(bus.topic));
    const read = all(client.multicall("count", { to: 20 }));
    await ended.promise;
    // Its acknowledgement gets there before these come back: the broker does not bring it again by itself.
    for (let n = 0; n < 5; n++) await client.call("add", { a: n, b: 1 });
    const began = performance.now();
    proxy.reset();
    assert.deepEqual(await read, upTo(20));
    assert.ok(performance.now() - began < 7_000); // sooner than it is missed
  },
);

onRabbit(
  "a stream whose worker is cut off, and is another's now, is interrupted",
  async (bus) => {
    await using proxy = proxyTo(bus.url);
    const handlers = sumHandlers();
    const far = new Bus(proxy.url(bus.url));
    const worker = await far.serve(sums(bus.topic), handlers, { grace: 0 });
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    const stream = client.multicall("count", { to: 1_000 });
    for (let n = 1; n <= 5; n++) assert.equal((await stream.next()).value, n);
    proxy.refuse(true);
    proxy.reset();
    await using other = await bus.serve(sums(bus.topic), handlers);
    const error = await failureOf(all(stream));
    assert.ok(error instanceof InterruptedError, String(error));
    assert.equal(error.data.sequence, 32);
    await until("it is done there", () => other.stats.active === 0);
    await worker[Symbol.asyncDispose]();
  },
);

onRabbit(
  "a stream goes on with its worker, which had lost its broker for a moment, though another has begun it",
  async (bus) => {
    await using proxy = proxyTo(bus.url);
    const far = new Bus(proxy.url(bus.url));
    const begun: string[] = [];
    const counting = (name: string) =>
      sumHandlers({
        async *count({ to }) {
          begun.push(name);
          for (let i = 1; i <= to; i++) yield i;
        },
      });
    await using _worker = await far.serve(sums(bus.topic), counting("own"));
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    const stream = client.multicall("count", { to: 200 });
    for (let n = 1; n <= 5; n++) assert.equal((await stream.next()).value, n);
    await using _other = await bus.serve(sums(bus.topic), counting("other"));
    proxy.refuse(true);
    proxy.reset();
    await until("another has begun it", () => begun.length === 2);
    proxy.refuse(false);
    const rest = await all(stream);
    assert.deepEqual(rest, Array.from({ length: 195 }, (_, n) => n + 6));
    assert.deepEqual(begun, ["own", "other"]);
  },
);

onRabbit(
  "who asks for a stream that its worker does not know is told so",
  async (bus) => {
    await using _worker = await bus.serve(sums(bus.topic), sumHandlers());
    await using raw = await bus.raw();
    const { channel } = raw as Raw;
    const { queue } = await channel.assertQueue("", { exclusive: true });
    const { body, headers } = encodeControl({
      kind: "control",
      command: "resume",
      call: "nobody's",
      sequence: 8,
      runId: "r",
    });
    const told = Promise.withResolvers<Record<string, unknown>>();
    await channel.consume(queue, (message) => {
      told.resolve(JSON.parse(String(message?.content)));
    }, { noAck: true });
    const options = { headers, replyTo: queue, correlationId: "nobody's" };
    channel.sendToQueue(inboxOf(bus.url).name, Buffer.from(body), options);
    const { failure, ending } = await told.promise;
    assert.equal(ending, true);
    assert.match(
      JSON.stringify(failure),
      /InterruptedError.*after item 7/,
    );
  },
);

Deno.test({
  name:
    "a stream of 2000 items outlives a broker that is killed in the middle (needs rabbitmq-server)",
  ignore: rabbitmqServer === undefined,
  timeout: 180_000,
  fn: async () => {
    await using broker = await privateBroker();
    const bus = new Bus(broker.url); // its queues go with the broker
    await using proxy = proxyTo(broker.url);
    const state = { runs: 0, yielded: 0 };
    const gate = Promise.withResolvers<void>();
    const handlers = sumHandlers({
      async *count({ to }) {
        state.runs++;
        for (let n = 1; n <= to; n++) {
          if (n === 1_001) await gate.promise;
          yield state.yielded = n;
        }
      },
    });
    await using worker = await bus.serve(sums(bus.topic), handlers);
    await using connection = await createConnection(
      proxy.url(broker.url),
    );
    const client = connection.client(sums(bus.topic));
    const near = worker.client(sums(bus.topic));
    const read: number[] = [];
    let restarted: Promise<void> | undefined;
    for await (const n of client.multicall("count", { to: 2_000 })) {
      read.push(n);
      if (n !== 1_000) continue;
      // What is sent from now on waits at the broker, and dies with it.
      proxy.blackhole(true);
      gate.resolve();
      for (let last = 0; last < state.yielded;) {
        last = state.yielded;
        await near.call("add", { a: 1, b: 1 });
      }
      await broker.kill();
      proxy.reset();
      proxy.blackhole(false);
      restarted = broker.start();
    }
    await restarted;
    assert.deepEqual(read, upTo(2_000));
    assert.equal(state.runs, 1);
  },
});

function message(bytes: number): Message {
  return { body: new Uint8Array(bytes), headers: {} };
}

function sent(window: number, running = new ControlTargets()) {
  const again: (readonly Message[])[] = [];
  const items = new ReplayBuffer({
    targets: running,
    call: "c",
    reader: "r",
    window,
    resend: (messages) => Promise.resolve(void again.push(messages)),
  });
  return { items, again };
}

Deno.test("ReplayBuffer keeps no more than a window and the ending", () => {
  const { items } = sent(32);
  for (let n = 0; n < 1_000; n++) items.add(message(10));
  assert.equal(items.bytes, 330);
  assert.equal(items.next.sequence, 1_001);
  items.grant({ upTo: 1_000 }); // 968 were read
  assert.equal(items.bytes, 320);
  items.grant({ upTo: 900 });
  assert.equal(items.bytes, 320);
  items.grant({ upTo: 2_000 });
  assert.equal(items.bytes, 0);
  const { items: hungry } = sent(1_000_000);
  for (let n = 0; n < 1_000; n++) hungry.add(message(10));
  assert.equal(hungry.bytes, 330);
  const { items: forgetful } = sent(0);
  forgetful.add(message(10));
  assert.equal(forgetful.bytes, 0);
});

Deno.test("ReplayBuffer keeps what a reader has not read, and is full with a megabyte of it", () => {
  const { items } = sent(32);
  for (let n = 0; n < 32; n++) items.add(message(1_000));
  items.grant({ upTo: 1_030, read: 6 });
  assert.equal(items.bytes, 26_000);
  for (let n = 32; n < 1_030; n++) items.add(message(1_000));
  assert.equal(items.bytes, 1_024_000, "the window");
  assert.equal(items.full, false);
  items.add(message(100_000)); // the ending
  assert.equal(items.bytes, 1_124_000);
  assert.equal(items.full, true);
  items.grant({ upTo: 1_030, read: 5 });
  assert.equal(items.bytes, 1_124_000, "an old grant");
  items.grant({ upTo: 2_000, read: 999 });
  assert.equal(items.bytes, 31_000 + 100_000);
  for (let n = 0; n < 10; n++) items.add(message(1_000_000));
  assert.equal(items.full, true);
  const { items: few } = sent(32);
  few.grant({ upTo: 64, read: 0 });
  for (let n = 0; n < 31; n++) few.add(message(1_000_000));
  assert.equal(few.full, false, "fewer than 32");
  const { items: older } = sent(32);
  for (let n = 0; n < 40; n++) older.add(message(1_000_000));
  older.grant({ upTo: 41 });
  assert.equal(older.full, false);
});

Deno.test("ReplayBuffer resends what follows a number, of its own run, once in 100 ms", () => {
  const five = () => {
    const { items, again } = sent(32);
    const messages = upTo(5).map(message);
    for (const each of messages) items.add(each);
    items.grant({ upTo: 34 }); // two were read
    return { items, again, messages, run: items.next.runId };
  };
  {
    const { items, again, messages, run } = five();
    assert.equal(items.resume(4, run), true);
    assert.equal(items.resume(3, run), true); // too soon
    assert.deepEqual(again, [messages.slice(3)]);
    assert.equal(items.resume(1, "another"), false);
  }
  {
    const { items, again, messages } = five();
    items.resume(1, undefined); // said before two were read
    assert.deepEqual(again, [messages.slice(2)]);
  }
  const { items, again, run } = five();
  items.resume(6, run);
  assert.deepEqual(again, [[]]);
});

Deno.test("a question for what was missed is answered by one stream at most, to its own reader alone", () => {
  const running = new ControlTargets();
  using ended = new FinishedStreams();
  const many = upTo(1_000).map(() => sent(32, running));
  for (const { items } of many) {
    for (let n = 0; n < 40; n++) items.add(message(1));
    ended.add(items);
  }
  const said = () => many.flatMap(({ again }) => again.flat()).length;
  assert.equal(running.resume("c", "somebody else", 1, undefined), false);
  assert.equal(running.resume("c", undefined, 1, undefined), false);
  assert.equal(said(), 0);
  assert.equal(running.resume("c", "r", 1, undefined), true);
  for (let n = 0; n < 1_000; n++) running.resume("c", "r", 1, undefined);
  assert.equal(said(), 33);
});

Deno.test("EndedStreams forgets the oldest when they are more than 16 MiB, and all when disposed", () => {
  const running = new ControlTargets();
  using ended = new FinishedStreams();
  const streams = upTo(5).map(() => sent(32, running).items);
  for (const stream of streams) {
    stream.add(message(4 * 1024 * 1024));
    ended.add(stream);
  }
  const kept = streams.map(({ bytes }) => bytes > 0);
  assert.deepEqual(kept, [false, false, true, true, true]);
  assert.equal(running.resume("c", "r", 1, streams[0]?.next.runId), false);
  assert.equal(running.resume("c", "r", 1, streams[4]?.next.runId), true);
  ended[Symbol.dispose]();
  assert.equal(running.resume("c", "r", 1, undefined), false);
});

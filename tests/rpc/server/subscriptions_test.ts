/** Consumers and workers of a connection: what waits, what is acknowledged when, and who gets a copy. */
import assert from "node:assert/strict";
import {
  type ConnectionContext,
  contract,
  implement,
  InvalidValueError,
  queueFor,
  RpcDispatcher,
  TimeoutError,
} from "../../../mod.ts";
import { until } from "../../setup/probe.ts";
import {
  type Bus,
  Endless,
  failureOf,
  onEachBus,
  onRabbit,
  sumHandlers,
  sums,
} from "../support.ts";

const dispatcherOf = (topic: string, tags: string[]) =>
  new RpcDispatcher([
    implement(
      sums(topic),
      sumHandlers({ wait: ({ tag = "" }) => void tags.push(tag) }),
    ),
  ]);

Deno.test("queueFor names the queue of a topic and of a host", () => {
  assert.equal(queueFor("compute"), "compute");
  assert.equal(
    queueFor("compute", "gb07.example.org"),
    "compute.gb07.example.org",
  );
});

onEachBus(
  "createConsumer makes a queue that keeps messages until consume",
  async (bus) => {
    const tags: string[] = [];
    await using worker = await bus.connect();
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    await worker.createConsumer(bus.topic, dispatcherOf(bus.topic, tags));
    await client.cast("wait", { tag: "early" });
    const call = client.call("add", { a: 1, b: 2 });
    assert.deepEqual(tags, []);
    assert.equal(worker.stats.active, 0);
    await worker.consume();
    assert.equal(await call, 3);
    await until("the cast came", () => tags.length === 1);
  },
);

onEachBus(
  "createConsumer after consume takes messages at once",
  async (bus) => {
    const tags: string[] = [];
    await using worker = await bus.connect();
    await worker.consume();
    await worker.createConsumer(bus.topic, dispatcherOf(bus.topic, tags));
    await using connection = await bus.connect();
    assert.equal(
      await connection.client(sums(bus.topic)).call("add", { a: 1, b: 2 }),
      3,
    );
  },
);

onEachBus(
  "createWorker: each pool gets every message, one member of it handles each",
  async (bus) => {
    const api = sums(bus.topic);
    const seen: Record<string, string[]> = { a1: [], a2: [], b1: [] };
    const workers: ConnectionContext[] = [];
    for (const [name, tags] of Object.entries(seen)) {
      const worker = await bus.connect();
      const pool = bus.name(`pool-${name[0]}`);
      await worker.createWorker(bus.topic, dispatcherOf(bus.topic, tags), pool);
      await worker.consume();
      workers.push(worker);
    }
    await using connection = await bus.connect();
    const sent = Array.from({ length: 100 }, (_, i) => `${i}`);
    for (const tag of sent) await connection.client(api).cast("wait", { tag });
    const { a1 = [], a2 = [], b1 = [] } = seen;
    await until(
      "both pools have all",
      () => a1.length + a2.length === 100 && b1.length === 100,
    );
    assert.deepEqual([...a1, ...a2].sort(), sent.toSorted());
    assert.deepEqual(b1, sent);
    assert.ok(a1.length > 10 && a2.length > 10);
    for (const worker of workers) await worker[Symbol.asyncDispose]();
  },
);

onEachBus(
  "consumers refuse names that are no names, and what is no dispatcher",
  async (bus) => {
    await using connection = await bus.connect();
    const dispatcher = dispatcherOf(bus.topic, []);
    const refused = [
      connection.createConsumer("#", dispatcher),
      connection.createConsumer("amq.topic", dispatcher),
      connection.createWorker(bus.topic, dispatcher, "a b"),
      connection.createWorker("", dispatcher, "pool"),
      connection.createConsumer(bus.topic, {} as never),
      connection.createConsumer(bus.topic, undefined as never),
    ];
    for (const each of refused) {
      assert.ok(await failureOf(each) instanceof InvalidValueError);
    }
  },
);

onEachBus(
  "concurrency bounds the handlers of all consumers together",
  async (bus) => {
    const api = sums(bus.topic);
    let running = 0, most = 0;
    const open = Promise.withResolvers<void>();
    const worker = await bus.serve(
      api,
      sumHandlers({
        wait: async () => {
          most = Math.max(most, ++running);
          await open.promise;
          running--;
        },
      }),
      { concurrency: 3, prefetch: 10, hosts: ["one"] },
    );
    await using _worker = worker;
    await using connection = await bus.connect();
    const client = connection.client(api);
    const calls = Array.from(
      { length: 12 },
      (_, i) => client.call("wait", {}, { host: i % 2 ? "one" : undefined }),
    );
    await until("all are in hand", () => worker.stats.active === 12);
    assert.equal(running, 3);
    open.resolve();
    await Promise.all(calls);
    assert.equal(most, 3);
  },
);

onEachBus(
  "a request that waits for its turn past its deadline is dropped",
  async (bus) => {
    const api = sums(bus.topic);
    const begun = Promise.withResolvers<void>();
    const open = Promise.withResolvers<void>();
    const tags: string[] = [];
    await using worker = await bus.serve(
      api,
      sumHandlers({
        wait: async ({ tag = "" }) => {
          tags.push(tag);
          begun.resolve();
          await open.promise;
        },
      }),
      { concurrency: 1, prefetch: 2 },
    );
    await using connection = await bus.connect();
    const client = connection.client(api);
    const first = client.call("wait", { tag: "first" });
    await begun.promise;
    const late = client.call("wait", { tag: "late" }, { timeout: 200 });
    assert.ok(await failureOf(late) instanceof TimeoutError);
    // While the first one still has the only turn, and keeps it.
    await until("it is dropped", () => worker.stats.dropped === 1);
    open.resolve();
    await first;
    await until("both are over", () => worker.stats.active === 0);
    assert.deepEqual(tags, ["first"]);
  },
);

onEachBus(
  "wrap a dispatcher to add behaviour around its handlers",
  async (bus) => {
    const api = sums(bus.topic);
    const inner = dispatcherOf(bus.topic, []);
    const asked: unknown[] = [];
    await using worker = await bus.connect();
    await worker.createConsumer(bus.topic, {
      topics: inner.topics,
      async dispatch(context, version, method, args, namespace) {
        asked.push([context.values, version, method, args, namespace]);
        const own = { ...context, values: { ...context.values, seen: true } };
        return await inner.dispatch(own, version, method, args, namespace);
      },
    });
    await worker.consume();
    await using connection = await bus.connect();
    const client = connection.client(api, { context: { user: "u" } });
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    assert.deepEqual(asked, [
      [{ user: "u" }, "1.0", "add", { a: 1, b: 2 }, undefined],
    ]);
  },
);

/** Messages of a queue that are with a worker or wait for one: what is left when the worker is cut off. */
async function left(bus: Bus, queue: string): Promise<number> {
  await using raw = await bus.raw();
  return (await raw!.channel.checkQueue(queue)).messageCount;
}

/** A worker that has one request in hand, cut off in the middle of it. */
async function cutOff(
  bus: Bus,
  delivery: "at-least-once" | "at-most-once",
): Promise<number> {
  const api = contract({
    topic: bus.topic,
    version: "1.0",
    procedures: { work: { delivery } },
  });
  const work = new Endless();
  const worker = await bus.serve(api, {
    work: (_, { signal }) => work.run(signal),
  }, { grace: 1 });
  await using connection = await bus.connect();
  await connection.client(api).cast("work");
  await work.began;
  await worker[Symbol.asyncDispose]();
  return await left(bus, bus.topic);
}

onRabbit(
  "at-least-once is acknowledged after the handler: cut off, the message is back",
  async (bus) => {
    assert.equal(await cutOff(bus, "at-least-once"), 1);
  },
);

onRabbit(
  "at-most-once is acknowledged before the handler: cut off, the message is gone",
  async (bus) => {
    assert.equal(await cutOff(bus, "at-most-once"), 0);
  },
);

onEachBus(
  "a request that a stopped worker did not finish goes to another",
  async (bus) => {
    const api = sums(bus.topic);
    const work = new Endless();
    const first = await bus.serve(
      api,
      sumHandlers({ wait: (_, { signal }) => work.run(signal) }),
      { grace: 1 },
    );
    await using connection = await bus.connect();
    const call = connection.client(api).call("wait");
    await work.began;
    const tags: string[] = [];
    await using _second = await bus.serve(
      api,
      sumHandlers({ wait: () => void tags.push("second") }),
    );
    await first[Symbol.asyncDispose]();
    await call;
    assert.deepEqual(tags, ["second"]);
  },
);

/** How a connection ends: what is under way fails in words, twice is once, and nothing is left. */
import assert from "node:assert/strict";
import {
  cleanup,
  type ConnectionContext,
  ConnectionDisposedError,
  createConnection,
  InvalidValueError,
  RpcDispatcher,
  RpcError,
} from "../../mod.ts";
import {
  type Bus,
  Endless,
  failureOf,
  onEachBus,
  sumHandlers,
  sums,
} from "../rpc/support.ts";

onEachBus(
  "disposal fails the calls that wait, and says that they are in doubt",
  async (bus) => {
    const api = sums(bus.topic);
    const work = new Endless();
    await using _worker = await bus.serve(
      api,
      sumHandlers({ wait: (_, { signal }) => work.run(signal) }),
      { grace: 1 },
    );
    const connection = await bus.connect();
    const client = connection.client(api);
    const call = failureOf(client.call("wait"));
    const stream = connection.multicall({ topic: bus.topic }, "wait");
    const item = failureOf(stream.next());
    await work.began;
    await connection[Symbol.asyncDispose]();
    for (const error of [await call, await item]) {
      assert.ok(error instanceof ConnectionDisposedError);
      assert.equal(error.inDoubt, true);
    }
  },
);

onEachBus(
  "every use after disposal throws ConnectionDisposedError",
  async (bus) => {
    const api = sums(bus.topic);
    const connection = await bus.connect();
    const client = connection.client(api);
    const later = client.multicall("count", { to: 1 });
    await connection[Symbol.asyncDispose]();
    const target = { topic: bus.topic };
    const dispatcher = new RpcDispatcher([]);
    const uses: (() => unknown)[] = [
      () => connection.client(api),
      () => client.call("add", { a: 1, b: 2 }),
      () => client.cast("wait"),
      () => client.fanoutCast("wait"),
      () => client.multicall("count", { to: 1 }).next(),
      () => later.next(),
      () => connection.call(target, "m"),
      () => connection.cast(target, "m"),
      () => connection.fanoutCast(target, "m"),
      () => connection.multicall(target, "m"),
      () => connection.notify("a", 1),
      () => connection.createListener(() => {}),
      () => connection.createConsumer(bus.topic, dispatcher),
      () => connection.createWorker(bus.topic, dispatcher, "pool"),
      () => connection.consume(),
    ];
    for (const use of uses) {
      const error = await failureOf((async () => await use())());
      assert.ok(error instanceof ConnectionDisposedError, String(use));
      assert.equal(error.inDoubt, false);
    }
  },
);

onEachBus("disposal twice is one disposal", async (bus) => {
  const connection = await bus.connect();
  const first = connection[Symbol.asyncDispose]();
  assert.equal(connection[Symbol.asyncDispose](), first);
  await first;
  await connection[Symbol.asyncDispose]();
  assert.equal(connection.stats.active, 0);
});

onEachBus(
  "a body that throws still disposes, and its error comes out",
  async (bus) => {
    let kept: ConnectionContext | undefined;
    const body = async () => {
      await using connection = await bus.connect();
      kept = connection;
      await using worker = await bus.serve(sums(bus.topic), sumHandlers());
      assert.equal(worker.stats.handled, 0);
      throw new Error("body");
    };
    assert.equal((await failureOf(body())).message, "body");
    assert.throws(() => kept?.client(sums("t")), ConnectionDisposedError);
  },
);

onEachBus(
  "disposal lets a handler finish, that calls others on the same connection",
  async (bus) => {
    const api = sums(bus.topic);
    await using other = await bus.serve(sums(bus.name("other")), sumHandlers());
    assert.ok(other);
    const begun = Promise.withResolvers<void>();
    const open = Promise.withResolvers<void>();
    const worker: ConnectionContext = await bus.serve(
      api,
      sumHandlers({
        add: async (args) => {
          begun.resolve();
          await open.promise;
          const target = { topic: `${bus.topic}-other` };
          return await client.call(target, "add", args) as number;
        },
      }),
    );
    const client = await bus.connect();
    await using connection = await bus.connect();
    const call = connection.client(api).call("add", { a: 1, b: 2 });
    await begun.promise;
    const disposal = worker[Symbol.asyncDispose]();
    open.resolve();
    assert.equal(await call, 3);
    await disposal;
    await client[Symbol.asyncDispose]();
  },
);

onEachBus("disposal ends a handler after its grace time", async (bus) => {
  const api = sums(bus.topic);
  const work = new Endless();
  const worker = await bus.serve(
    api,
    sumHandlers({ wait: (_, { signal }) => work.run(signal) }),
    { grace: 50 },
  );
  await using connection = await bus.connect();
  await connection.client(api).cast("wait");
  await work.began;
  await worker[Symbol.asyncDispose]();
  assert.ok(await work.ended instanceof ConnectionDisposedError);
});

/** Calls on pooled connections, several after each other and at once. */
async function callPooled(bus: Bus, times: number): Promise<number[]> {
  const once = async (i: number) => {
    await using connection = await bus.connect({ pooled: true });
    return await connection.client(sums(bus.topic)).call("add", { a: i, b: 1 });
  };
  return await Promise.all(Array.from({ length: times }, (_, i) => once(i)));
}

onEachBus(
  "pooled connections are bounded, shared and as good as new",
  async (bus) => {
    await using _worker = await bus.serve(sums(bus.topic), sumHandlers());
    for (let round = 0; round < 3; round++) {
      const results = await callPooled(bus, 100);
      assert.deepEqual(results, Array.from({ length: 100 }, (_, i) => i + 1));
    }
    const connections: ConnectionContext[] = [];
    for (let i = 0; i < 30; i++) {
      connections.push(await bus.connect({ pooled: true }));
    }
    const error = await failureOf(bus.connect({ pooled: true, timeout: 50 }));
    assert.ok(error instanceof RpcError);
    assert.equal(error.code, "TIMEOUT");
    const waiting = bus.connect({ pooled: true });
    await connections.pop()?.[Symbol.asyncDispose]();
    connections.push(await waiting);
    for (const each of connections) await each[Symbol.asyncDispose]();
    await cleanup();
  },
);

onEachBus(
  "a pooled connection that was disposed cannot be used, though its channels live on",
  async (bus) => {
    await using _worker = await bus.serve(sums(bus.topic), sumHandlers());
    const first = await bus.connect({ pooled: true });
    const client = first.client(sums(bus.topic));
    await first[Symbol.asyncDispose]();
    const args = { a: 1, b: 2 };
    assert.ok(
      await failureOf(client.call("add", args)) instanceof
        ConnectionDisposedError,
    );
    const second = await bus.connect({ pooled: true });
    assert.equal(await second.client(sums(bus.topic)).call("add", args), 3);
    await second[Symbol.asyncDispose]();
    await cleanup();
  },
);

Deno.test("createConnection refuses wrong options and URLs without showing a password", async () => {
  const urls = [
    "http://guest:s3cret@localhost",
    "amqp//guest:s3cret@x",
    "amqp://u:s3cret@:bad",
    "",
    [],
    ["memory:a", "memory:b"],
    ["memory:a", "amqp://u:s3cret@localhost"],
  ];
  for (const url of urls) {
    const error = await failureOf(createConnection(url));
    assert.ok(error instanceof InvalidValueError);
    assert.ok(!Deno.inspect(error).includes("s3cret"));
  }
  const wrong = [
    { concurrency: 0 },
    { concurrency: 1.5 },
    { prefetch: 65_536 },
    { timeout: 0 },
    { timeout: NaN },
  ];
  for (const options of wrong) {
    const error = await failureOf(createConnection("memory:wrong", options));
    assert.ok(error instanceof InvalidValueError);
  }
});

Deno.test("a memory bus goes with its last connection", async () => {
  const url = `memory:${crypto.randomUUID()}`;
  const api = sums("gone");
  {
    await using worker = await createConnection(url);
    const manager = { contract: api, ...sumHandlers() };
    await worker.createConsumer("gone", new RpcDispatcher([manager]));
  }
  await using connection = await createConnection(url);
  const error = await failureOf(connection.client(api).cast("wait"));
  assert.ok(error instanceof RpcError && error.code === "NO_ROUTE");
});

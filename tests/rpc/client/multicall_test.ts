/** The verb `multicall`: order, laziness, and that a stream which is left ends on the worker too. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  InvalidResultError,
  NoRouteError,
  RemoteError,
  RpcDispatcher,
  TimeoutError,
} from "../../../mod.ts";
import { until } from "../../setup/probe.ts";
import {
  aborted,
  all,
  type Bus,
  failureOf,
  onEachBus,
  sumHandlers,
  sums,
} from "../support.ts";

/** A worker whose stream goes on until it is ended, and what became of it. */
async function endless(bus: Bus) {
  const finished = Promise.withResolvers<unknown>();
  const started = { times: 0 };
  const worker = await bus.serve(
    sums(bus.topic),
    sumHandlers({
      async *count(_args, { signal }) {
        started.times++;
        try {
          yield 1;
          yield 2;
          await aborted(signal);
        } finally {
          finished.resolve(signal.reason);
        }
      },
    }),
  );
  return { worker, finished: finished.promise, started };
}

onEachBus("multicall gives every item in order", async (bus) => {
  const api = sums(bus.topic);
  await using _worker = await bus.serve(api, sumHandlers());
  await using connection = await bus.connect();
  const client = connection.client(api);
  const expected = Array.from({ length: 1_000 }, (_, i) => i + 1);
  const streams = await Promise.all([
    all(client.multicall("count", { to: 1_000 })),
    all(client.multicall("count", { to: 1_000 })),
    all(client.multicall("count", { to: 0 })),
  ]);
  assert.deepEqual(streams, [expected, expected, []]);
});

onEachBus(
  "multicall sends nothing before its first item is wanted, and is iterated once",
  async (bus) => {
    const api = sums(bus.topic);
    await using worker = await bus.serve(api, sumHandlers());
    await using connection = await bus.connect();
    const client = connection.client(api);
    const unused = client.multicall("count", { to: 1 });
    await client.call("add", { a: 1, b: 2 });
    await until("it is done", () => worker.stats.handled === 1);
    await unused.return();
    assert.deepEqual(await all(unused), []);
    const used = client.multicall("count", { to: 3 });
    assert.deepEqual(await all(used), [1, 2, 3]);
    assert.deepEqual(await all(used), []);
    await client.call("add", { a: 1, b: 2 });
    await until("both are done", () => worker.stats.handled === 3);
  },
);

onEachBus(
  "break ends the handler: its signal fires and its generator is finished",
  async (bus) => {
    const { worker, finished } = await endless(bus);
    await using _worker = worker;
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    for await (const item of client.multicall("count", { to: 1 })) {
      if (item === 2) break;
    }
    assert.match(String(await finished), /cancelled/);
  },
);

onEachBus(
  "await using ends a stream that is not read to its end",
  async (bus) => {
    const { worker, finished, started } = await endless(bus);
    await using _worker = worker;
    await using connection = await bus.connect();
    {
      const client = connection.client(sums(bus.topic));
      await using items = client.multicall("count", { to: 1 });
      assert.deepEqual(await items.next(), { value: 1, done: false });
    }
    assert.match(String(await finished), /cancelled/);
    assert.equal(started.times, 1);
  },
);

onEachBus("a body that throws ends the handler as well", async (bus) => {
  const { worker, finished } = await endless(bus);
  await using _worker = worker;
  await using connection = await bus.connect();
  const client = connection.client(sums(bus.topic));
  const body = async () => {
    for await (const _ of client.multicall("count", { to: 1 })) {
      throw new Error("enough");
    }
  };
  assert.equal((await failureOf(body())).message, "enough");
  assert.match(String(await finished), /cancelled/);
});

onEachBus(
  "an error in the middle of a stream comes after the items before it",
  async (bus) => {
    const api = sums(bus.topic);
    await using _worker = await bus.serve(
      api,
      sumHandlers({
        async *count() {
          yield 1;
          yield 2;
          throw new RangeError("no more");
        },
      }),
    );
    await using connection = await bus.connect();
    const seen: number[] = [];
    const read = async () => {
      const items = connection.client(api).multicall("count", { to: 9 });
      for await (const item of items) seen.push(item);
    };
    const error = await failureOf(read());
    assert.deepEqual(seen, [1, 2]);
    assert.ok(error instanceof RemoteError);
    assert.equal(error.failure.type, "RangeError");
  },
);

onEachBus(
  "multicall ends with TimeoutError when nothing comes for too long, and tells the worker",
  async (bus) => {
    const { worker, finished } = await endless(bus);
    await using _worker = worker;
    await using connection = await bus.connect();
    const items = connection.client(sums(bus.topic))
      .multicall("count", { to: 1 }, { timeout: 300 });
    const seen: number[] = [];
    const read = async () => {
      for await (const item of items) seen.push(item);
    };
    const started = performance.now();
    const error = await failureOf(read());
    assert.ok(error instanceof TimeoutError);
    assert.deepEqual(seen, [1, 2]);
    assert.ok(performance.now() - started >= 300);
    assert.match(String(await finished), /cancelled/);
  },
);

onEachBus(
  "a stream that no worker runs ends at its deadline, and says that nobody listens",
  async (bus) => {
    const api = sums(bus.topic);
    await using connection = await bus.connect();
    await (await bus.serve(api, sumHandlers()))[Symbol.asyncDispose]();
    const items = connection.client(api)
      .multicall("count", { to: 1 }, { timeout: 300 });
    const error = await failureOf(items.next());
    assert.ok(error instanceof TimeoutError);
    assert.equal(error.consumers, 0);
    const text =
      `No item of count from ${bus.topic} within 300 ms; nobody consumes its queue`;
    assert.equal(error.message, text);
  },
);

onEachBus(
  "the timeout of multicall is for each item, not for the whole",
  async (bus) => {
    const api = sums(bus.topic);
    await using _worker = await bus.serve(
      api,
      sumHandlers({
        async *count({ to }) {
          for (let i = 1; i <= to; i++) {
            await new Promise((resolve) => setTimeout(resolve, 100));
            yield i;
          }
        },
      }),
    );
    await using connection = await bus.connect();
    const items = connection.client(api)
      .multicall("count", { to: 8 }, { timeout: 600 });
    assert.deepEqual(await all(items), [1, 2, 3, 4, 5, 6, 7, 8]);
  },
);

onEachBus("items may be null, and an empty stream is no error", async (bus) => {
  const api = contract({
    topic: bus.topic,
    version: "1.0",
    procedures: { list: { yields: z.null().or(z.string()) } },
  });
  await using _worker = await bus.serve(api, {
    async *list() {
      yield null;
      yield "a";
      yield null;
    },
  });
  await using connection = await bus.connect();
  const client = connection.client(api);
  assert.deepEqual(await all(client.multicall("list")), [null, "a", null]);
});

onEachBus(
  "an async iterable that is no generator is a stream as well",
  async (bus) => {
    const api = sums(bus.topic);
    let returned = 0;
    await using _worker = await bus.serve(
      api,
      sumHandlers({
        count: () => ({
          [Symbol.asyncIterator]() {
            let i = 0;
            return {
              next: () => Promise.resolve({ value: ++i, done: false }),
              return: () => {
                returned++;
                return Promise.resolve({ value: undefined, done: true });
              },
            };
          },
        }),
      }),
    );
    await using connection = await bus.connect();
    const seen: number[] = [];
    for await (
      const item of connection.client(api).multicall("count", { to: 1 })
    ) {
      if (seen.push(item) === 3) break;
    }
    assert.deepEqual(seen, [1, 2, 3]);
    await connection[Symbol.asyncDispose]();
    await _worker[Symbol.asyncDispose]();
    assert.equal(returned, 1);
  },
);

onEachBus(
  "call of a stream gives its last item, multicall of a unary procedure its result",
  async (bus) => {
    const api = sums(bus.topic);
    await using _worker = await bus.serve(api, sumHandlers());
    await using connection = await bus.connect();
    const target = { topic: bus.topic };
    assert.equal(await connection.call(target, "count", { to: 5 }), 5);
    assert.equal(await connection.call(target, "count", { to: 0 }), null);
    const items = connection.multicall(target, "add", { a: 1, b: 2 });
    assert.deepEqual(await all(items), [3]);
  },
);

onEachBus(
  "multicall of an unknown topic fails with NoRouteError",
  async (bus) => {
    await using connection = await bus.connect();
    const items = connection.client(sums(bus.topic)).multicall("count", {
      to: 1,
    });
    assert.ok(await failureOf(items.next()) instanceof NoRouteError);
  },
);

onEachBus(
  "abort ends a stream with the signal's reason, and its handler",
  async (bus) => {
    const { worker, finished } = await endless(bus);
    await using _worker = worker;
    await using connection = await bus.connect();
    const stop = new AbortController();
    const items = connection.client(sums(bus.topic))
      .multicall("count", { to: 1 }, { signal: stop.signal });
    await items.next();
    await items.next();
    const reason = new Error("enough");
    stop.abort(reason);
    assert.equal(await failureOf(items.next()), reason);
    assert.match(String(await finished), /cancelled/);
  },
);

onEachBus(
  "a stream whose handler gives no async iterable is refused",
  async (bus) => {
    await using worker = await bus.connect();
    const api = sums(bus.topic);
    const handlers = sumHandlers({ count: (() => 5) as never });
    await worker.createConsumer(
      bus.topic,
      new RpcDispatcher([{ contract: api, ...handlers }]),
    );
    await worker.consume();
    await using connection = await bus.connect();
    const items = connection.client(api).multicall("count", { to: 1 });
    assert.match((await failureOf(items.next())).message, /async iterable/);
  },
);

onEachBus(
  "an item that JSON cannot represent ends the stream at once, and its handler",
  async (bus) => {
    const finished = Promise.withResolvers<string>();
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      procedures: { list: { yields: z.unknown() } },
    });
    await using _worker = await bus.serve(api, {
      async *list(_, { signal }) {
        try {
          yield 1;
          yield { n: NaN };
          await aborted(signal);
        } finally {
          finished.resolve("finished");
        }
      },
    });
    await using connection = await bus.connect();
    const items = connection.client(api).multicall("list");
    assert.equal((await items.next()).value, 1);
    const error = await failureOf(items.next());
    assert.ok(error instanceof InvalidResultError);
    assert.equal(error.data.path, "result.n");
    assert.equal(await finished.promise, "finished");
  },
);

onEachBus("multicall waits for a queue with waitForRoute", async (bus) => {
  await using connection = await bus.connect({ waitForRoute: true });
  await using hasty = await bus.connect();
  const api = sums(bus.topic);
  const items = all(connection.client(api).multicall("count", { to: 3 }));
  await failureOf(hasty.client(api).call("add", { a: 1, b: 2 }));
  await using _worker = await bus.serve(api, sumHandlers());
  assert.deepEqual(await items, [1, 2, 3]);
});

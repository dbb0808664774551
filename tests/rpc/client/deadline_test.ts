/** Time: deadlines and signals at both ends, and what a call inside a handler inherits. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  type Handlers,
  implement,
  type RequestContext,
  requestContext,
  RpcDispatcher,
  RpcError,
  TimeoutError,
} from "../../../mod.ts";
import { until } from "../../setup/probe.ts";
import {
  aborted,
  all,
  Bus,
  Endless,
  failureOf,
  onEachBus,
  sumHandlers,
  sums,
} from "../support.ts";

/** What a promise may take beyond its deadline (250 ms), and how late this machine's event loop may be. */
const LATE = 250 + 1_000;

onEachBus(
  "a call that nobody takes ends at its deadline, and says that nobody listens",
  async (bus) => {
    const api = sums(bus.topic);
    await using connection = await bus.connect();
    await (await bus.serve(api, sumHandlers()))[Symbol.asyncDispose]();
    const started = performance.now();
    const error = await failureOf(
      connection.client(api).call("add", { a: 1, b: 2 }, { timeout: 300 }),
    );
    const took = performance.now() - started;
    assert.ok(error instanceof TimeoutError);
    assert.equal(error.consumers, 0);
    assert.equal(error.inDoubt, true);
    assert.ok(took >= 299 && took < 300 + LATE, `${took} ms`);
  },
);

onEachBus(
  "a call ends at its deadline while the handler goes on, and the handler's signal fires",
  async (bus) => {
    const api = sums(bus.topic);
    const work = new Endless();
    await using _worker = await bus.serve(
      api,
      sumHandlers({ wait: (_, { signal }) => work.run(signal) }),
    );
    await using connection = await bus.connect();
    const started = performance.now();
    const error = await failureOf(
      connection.client(api).call("wait", {}, { timeout: 300 }),
    );
    assert.ok(error instanceof TimeoutError);
    assert.equal(error.consumers, 1);
    assert.ok(performance.now() - started < 300 + LATE);
    assert.ok(await work.ended instanceof TimeoutError);
  },
);

onEachBus(
  "a request that waited past its deadline is not handled",
  async (bus) => {
    const api = sums(bus.topic);
    const tags: unknown[] = [];
    await using connection = await bus.connect();
    await (await bus.serve(api, sumHandlers()))[Symbol.asyncDispose]();
    const client = connection.client(api);
    // The broker counts from a little later than the caller; by the second deadline the first is over for both.
    await Promise.all([
      failureOf(client.call("wait", { tag: "late" }, { timeout: 100 })),
      failureOf(client.call("wait", { tag: "later" }, { timeout: 400 })),
    ]);
    await using _worker = await bus.serve(
      api,
      sumHandlers({ wait: ({ tag }) => void tags.push(tag) }),
    );
    await client.call("wait", { tag: "now" });
    assert.ok(tags.includes("now") && !tags.includes("late"), String(tags));
  },
);

onEachBus("a signal that has fired before sends nothing", async (bus) => {
  const api = sums(bus.topic);
  await using worker = await bus.serve(api, sumHandlers());
  await using connection = await bus.connect();
  const client = connection.client(api);
  const reason = new Error("never mind");
  const signal = AbortSignal.abort(reason);
  const verbs = [
    client.call("wait", {}, { signal }),
    client.cast("wait", {}, { signal }),
    client.fanoutCast("wait", {}, { signal }),
    all(client.multicall("count", { to: 1 }, { signal })),
    connection.notify("a.b", {}, { signal }),
  ];
  for (const error of await Promise.all(verbs.map(failureOf))) {
    assert.equal(error, reason);
  }
  await client.call("add", { a: 1, b: 1 });
  await until("it is done", () => worker.stats.handled > 0);
  assert.equal(worker.stats.handled, 1);
});

onEachBus(
  "abort rejects with the signal's reason, and ends the handler",
  async (bus) => {
    const api = sums(bus.topic);
    const work = new Endless();
    await using _worker = await bus.serve(
      api,
      sumHandlers({ wait: (_, { signal }) => work.run(signal) }),
    );
    await using connection = await bus.connect();
    const stop = new AbortController();
    const call = connection.client(api).call("wait", {}, {
      signal: stop.signal,
    });
    await work.began;
    const reason = { not: "an error" };
    stop.abort(reason);
    assert.equal(await call.catch((error: unknown) => error), reason);
    const ended = await work.ended;
    assert.ok(ended instanceof RpcError);
    assert.equal(ended.code, "ABORTED");
  },
);

onEachBus("options that are no durations are refused", async (bus) => {
  await using connection = await bus.connect();
  const client = connection.client(sums(bus.topic));
  for (const timeout of [0, -1, NaN, "5" as unknown as number]) {
    const error = await failureOf(client.call("wait", {}, { timeout }));
    assert.match(error.message, /option timeout/);
    const ttl = await failureOf(client.cast("wait", {}, { ttl: timeout }));
    assert.match(ttl.message, /option ttl/);
  }
});

/** A contract whose procedure `outer` does what a test gives it. */
const nest = (topic: string) =>
  contract({
    topic,
    version: "1.0",
    procedures: {
      outer: { result: z.unknown() },
      inner: { result: z.unknown() },
      note: {},
      stream: { yields: z.unknown() },
    },
  });

const seenBy = ({ values, deadline, signal }: RequestContext) => ({
  values,
  left: deadline === Infinity ? null : deadline - Date.now(),
  fired: signal.aborted,
});

onEachBus(
  "a call inside a handler inherits values and the time that is left; a cast values alone",
  async (bus) => {
    const api = nest(bus.topic);
    const noted = Promise.withResolvers<ReturnType<typeof seenBy>>();
    await using inside = await bus.connect();
    const client = inside.client(api);
    await using _worker = await bus.serve(api, {
      outer: async () => {
        await client.cast("note");
        const own = { context: { user_id: "own" }, timeout: 1_000 };
        return {
          same: await client.call("inner"),
          own: await client.call("inner", {}, own),
          items: await all(client.multicall("stream")),
        };
      },
      inner: (_, context) => seenBy(context),
      note: (_, context) => noted.resolve(seenBy(context)),
      async *stream(_, context) {
        yield seenBy(context);
        yield await client.call("inner");
      },
    });
    await using connection = await bus.connect();
    type Seen = ReturnType<typeof seenBy>;
    const { same, own, items } = await connection.client(api).call(
      "outer",
      {},
      {
        context: { user_id: "u", roles: ["admin"] },
        timeout: 20_000,
      },
    ) as { same: Seen; own: Seen; items: Seen[] };
    const values = { user_id: "u", roles: ["admin"] };
    assert.deepEqual(same.values, values);
    assert.ok(
      same.left !== null && same.left > 0 && same.left <= 20_000,
      `${same.left} ms`,
    );
    assert.deepEqual(own.values, { user_id: "own" });
    assert.ok(own.left !== null && own.left <= 1_000);
    assert.deepEqual(items.map((item) => item.values), [values, values]);
    const cast = await noted.promise;
    assert.deepEqual(cast.values, values);
    assert.equal(cast.left, null);
  },
);

onEachBus(
  "a call inside a handler ends with the handler's signal; a cast does not",
  async (bus) => {
    const api = nest(bus.topic);
    const work = new Endless();
    const called = Promise.withResolvers<unknown>();
    const noted = Promise.withResolvers<boolean>();
    await using inside = await bus.connect();
    const client = inside.client(api);
    await using _worker = await bus.serve(api, {
      outer: async (_, { signal }) => {
        const call = client.call("inner");
        await aborted(signal);
        called.resolve(await call.catch((error: unknown) => error));
        await client.cast("note");
        return null;
      },
      inner: (_, { signal }) => work.run(signal),
      note: (_, { signal }) => noted.resolve(signal.aborted),
      stream: () => assert.fail("not called"),
    });
    await using connection = await bus.connect();
    const stop = new AbortController();
    const call = connection.client(api).call("outer", {}, {
      signal: stop.signal,
    });
    await work.began;
    stop.abort(new Error("enough"));
    assert.equal((await failureOf(call)).message, "enough");
    const nested = await called.promise;
    assert.ok(nested instanceof RpcError && nested.code === "ABORTED");
    assert.ok(await work.ended instanceof RpcError);
    assert.equal(await noted.promise, false);
  },
);

onEachBus("a call after the handler's deadline is not made", async (bus) => {
  const api = nest(bus.topic);
  const called = Promise.withResolvers<unknown>();
  let inner = 0;
  await using inside = await bus.connect();
  const client = inside.client(api);
  await using _worker = await bus.serve(api, {
    outer: async (_, { signal, deadline }) => {
      await aborted(signal);
      await until("the deadline passed", () => Date.now() > deadline);
      called.resolve(await client.call("inner").catch((error) => error));
      return null;
    },
    inner: () => ++inner,
    note: () => {},
    stream: () => assert.fail("not called"),
  });
  await using connection = await bus.connect();
  const outer = connection.client(api).call("outer", {}, { timeout: 150 });
  assert.ok(await failureOf(outer) instanceof TimeoutError);
  const nested = await called.promise;
  assert.ok(nested instanceof TimeoutError);
  assert.equal(nested.inDoubt, false);
  assert.equal(inner, 0);
});

onEachBus(
  "64 handlers that each call their own topic settle by their deadline",
  async (bus) => {
    const api = nest(bus.topic);
    await using worker = await bus.connect({ concurrency: 64 });
    const client = worker.client(api);
    let outers = 0;
    const manager = implement(api, {
      outer: async () => {
        outers++;
        await until("all 64 are in hand", () => outers >= 64);
        return await client.call("inner");
      },
      inner: () => 1,
      note: () => {},
      stream: () => assert.fail("not called"),
    });
    await worker.createConsumer(bus.topic, new RpcDispatcher([manager]));
    await worker.consume();
    await using connection = await bus.connect();
    const caller = connection.client(api);
    const started = performance.now();
    const outcomes = await Promise.allSettled(
      Array.from(
        { length: 64 },
        () => caller.call("outer", {}, { timeout: 2_000 }),
      ),
    );
    const took = performance.now() - started;
    assert.equal(outcomes.length, 64);
    assert.ok(outcomes.every(({ status }) => status === "rejected"));
    assert.ok(took < 2_000 + LATE, `${took} ms`);
    assert.equal(await caller.call("inner"), 1, "the worker is free again");
  },
);

/** The wall clock jumps forward by an hour, until disposed. */
function jump(): Disposable {
  const { now } = Date;
  Date.now = () => now() + 3_600_000;
  return { [Symbol.dispose]: () => void (Date.now = now) };
}

onEachBus(
  "a wall clock that jumps within a handler does not end the handler's calls",
  async (bus) => {
    const api = nest(bus.topic);
    await using inside = await bus.connect();
    const client = inside.client(api);
    await using _worker = await bus.serve(api, {
      outer: async (_, context) => {
        using _jump = jump();
        return [
          await client.call("inner"),
          await client.call("inner", {}, { context: { ...context } }),
          await all(client.multicall("stream")),
        ];
      },
      inner: () => 1,
      note: () => {},
      async *stream() {
        yield 2;
      },
    });
    await using connection = await bus.connect();
    const given = await connection.client(api).call("outer");
    assert.deepEqual(given, [1, 1, [2]]);
  },
);

Deno.test("a wall clock that jumps does not end the calls of a handler whose context a test made", async () => {
  await using bus = new Bus(`memory:${crypto.randomUUID()}`);
  const api = nest(bus.topic);
  await using connection = await bus.connect();
  const client = connection.client(api);
  const handlers: Handlers<typeof api> = {
    outer: async () => {
      using _jump = jump();
      return await client.call("inner");
    },
    inner: () => 1,
    note: () => {},
    stream: () => assert.fail("not called"),
  };
  await using _worker = await bus.serve(api, handlers);
  const tested = new RpcDispatcher([implement(api, handlers)]);
  const context = { ...requestContext(), deadline: Date.now() + 10_000 };
  assert.equal(await tested.dispatch(context, "1.0", "outer", {}), 1);
  const past = { ...requestContext(), deadline: Date.now() - 1 };
  await assert.rejects(
    client.call("inner", {}, { context: past }),
    TimeoutError,
  );
});

onEachBus(
  "a call without a deadline ends at the worker's own, is told so, and leaves its place to others",
  async (bus) => {
    const work = new Endless();
    await using worker = await bus.serve(
      sums(bus.topic),
      sumHandlers({ wait: (_, { signal }) => work.run(signal) }),
      { concurrency: 1, consumerTimeout: 300 },
    );
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    const ended = failureOf(client.call("wait", {}, { timeout: Infinity }));
    await work.began;
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    const error = await ended;
    assert.ok(error instanceof TimeoutError && error.inDoubt);
    assert.match(error.message, /^wait has taken \d+ ms, /);
    assert.match(`${await work.ended}`, /has taken \d+ ms/);
    assert.equal(worker.stats.failed, 0);
  },
);

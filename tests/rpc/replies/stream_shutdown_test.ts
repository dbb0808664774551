/** Streams that are left: at any moment, by whatever way, the worker is told and nobody hangs. */
import assert from "node:assert/strict";
import { EventEmitter, on } from "node:events";
import { type Handlers, InvalidValueError } from "../../../mod.ts";
import { until } from "../../setup/probe.ts";
import {
  aborted,
  Bus,
  onEachBus,
  onRabbit,
  sumHandlers,
  type Sums,
  sums,
} from "../support.ts";

/** A stream without end, which says how far it is and when it has ended. */
class Counter {
  produced = 0;
  ended = 0;

  /** Handlers with a `count` that awaits nothing. */
  handlers(): Handlers<Sums> {
    // deno-fmt-ignore-start
    const count = async function* (this: Counter, _: unknown, { signal }: { signal: AbortSignal }) {
      try {
        while (!signal.aborted) yield ++this.produced;
      } finally {
        this.ended++;
      }
    }.bind(this);
    // deno-fmt-ignore-end
    return sumHandlers({ count });
  }
}

const to = 1; // nobody looks at it

onEachBus(
  "a stream that awaits nothing leaves timers and others their turn",
  async (bus) => {
    const counter = new Counter();
    const api = sums(bus.topic);
    await using _worker = await bus.serve(api, counter.handlers());
    await using connection = await bus.connect();
    const client = connection.client(api);
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    for await (const n of client.multicall("count", { to })) {
      if (n % 50 === 0) {
        assert.equal(
          await client.call("add", { a: n, b: 1 }),
          n + 1,
        );
      }
      if (ticks > 3) break;
    }
    clearInterval(timer);
    await until("the worker has ended it", () => counter.ended === 1);
    assert.ok(ticks > 3);
  },
);

onEachBus(
  "abort ends a stream at once, whatever is buffered, also while nobody pulls",
  async (bus) => {
    const counter = new Counter();
    const api = sums(bus.topic);
    await using _worker = await bus.serve(api, counter.handlers());
    await using connection = await bus.connect();
    const client = connection.client(api);
    const controller = new AbortController();
    const reason = new Error("enough");
    const { signal } = controller;
    const stream = client.multicall("count", { to }, { signal });
    await stream.next();
    await until("many items wait", () => counter.produced === 32);
    controller.abort(reason);
    await until("the worker has ended it", () => counter.ended === 1);
    await assert.rejects(stream.next(), (error) => error === reason);
  },
);

onEachBus(
  "return() does not wait for the item that next() awaits",
  async (bus) => {
    const api = sums(bus.topic);
    const signals: AbortSignal[] = [];
    await using _worker = await bus.serve(
      api,
      sumHandlers({
        async *count(_, { signal }) {
          signals.push(signal);
          yield 1;
          await aborted(signal);
        },
      }),
    );
    await using connection = await bus.connect();
    const stream = connection.client(api).multicall("count", { to });
    await stream.next();
    const next = stream.next();
    assert.deepEqual(await stream.return(), { done: true, value: undefined });
    assert.deepEqual(await next, { done: true, value: undefined });
    assert.deepEqual(await stream.next(), { done: true, value: undefined });
    await until("the worker is told", () => signals[0]?.aborted);
  },
);

onEachBus(
  "disposing one of two contexts ends its streams on the worker",
  async (bus) => {
    const counter = new Counter();
    const api = sums(bus.topic);
    await using _worker = await bus.serve(api, counter.handlers());
    await using _other = await bus.connect();
    const connection = await bus.connect();
    const stream = connection.client(api).multicall("count", { to });
    await stream.next();
    await connection[Symbol.asyncDispose]();
    await until("the worker has ended it", () => counter.ended === 1);
    assert.equal(counter.ended, 1);
  },
);

onEachBus(
  "a stream is refused by call and cast, a value by multicall, for those without types too",
  async (bus) => {
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    const untyped = client as unknown as Record<
      string,
      (method: string) => Promise<unknown>
    >;
    await assert.rejects(
      () => untyped.call?.("count") ?? Promise.resolve(),
      InvalidValueError,
    );
    await assert.rejects(
      () => untyped.cast?.("count") ?? Promise.resolve(),
      InvalidValueError,
    );
    assert.throws(() => untyped.multicall?.("add"), InvalidValueError);
  },
);

/** A source that is quiet, and what shows that it is told to end. */
interface Quiet extends Partial<AsyncDisposable> {
  readonly items: AsyncIterable<unknown>;
  over(): boolean;
}

function emitter(): Quiet {
  const events = new EventEmitter();
  return {
    items: on(events, "item"),
    over: () => events.listenerCount("item") === 0,
  };
}

function readable(): Quiet {
  let cancelled = false;
  const items = new ReadableStream({ cancel: () => void (cancelled = true) });
  return { items, over: () => cancelled };
}

async function files(): Promise<Quiet> {
  const directory = await Deno.makeTempDir();
  const watcher = Deno.watchFs(directory);
  let returned = false;
  const iterator = watcher[Symbol.asyncIterator]();
  const items: AsyncIterableIterator<unknown> = {
    next: () => iterator.next(),
    return: () => {
      returned = true;
      return Promise.resolve(iterator.return?.() ?? watcher.close())
        .then(() => ({ done: true, value: undefined }));
    },
    [Symbol.asyncIterator]: () => items,
  };
  return {
    items,
    over: () => returned,
    [Symbol.asyncDispose]: () => Deno.remove(directory),
  };
}

/** It cannot be told: it returns only after the step that never ends. */
function generator(): Quiet {
  const items = async function* () {
    await new Promise(() => {});
    yield 1;
  };
  return { items: items(), over: () => true };
}

/** Its step fails after it was left. */
function failing(): Quiet {
  const { promise, reject } = Promise.withResolvers<never>();
  let over = false;
  const items: AsyncIterableIterator<unknown> = {
    next: () => promise,
    return: () => {
      over = true;
      setTimeout(() => reject(new Error("the source has gone")));
      return promise;
    },
    [Symbol.asyncIterator]: () => items,
  };
  return { items, over: () => over };
}

async function leave(bus: Bus, make: () => Quiet | Promise<Quiet>) {
  const source = await make();
  await using _cleaned = {
    [Symbol.asyncDispose]: async () => await source[Symbol.asyncDispose]?.(),
  };
  const api = sums(bus.topic);
  const begun = Promise.withResolvers<void>();
  const worker = await bus.serve(
    api,
    sumHandlers({
      count: () => {
        setTimeout(begun.resolve); // the first item is awaited by then
        return source.items as AsyncIterable<number>;
      },
    }),
    { concurrency: 1 },
  );
  await using connection = await bus.connect();
  const client = connection.client(api);
  const stream = client.multicall("count", { to });
  const next = stream.next();
  await begun.promise;
  await stream.return();
  assert.deepEqual(await next, { done: true, value: undefined });
  await until("the source is told", () => source.over());
  assert.equal(await client.call("add", { a: 1, b: 1 }), 2);
  await worker.drain(120_000); // longer than a test may take
  await worker[Symbol.asyncDispose]();
}

const sources = { emitter, readable, files, generator, failing };
for (const [name, make] of Object.entries(sources)) {
  Deno.test({
    name: `a quiet source is told at once that its reader left: ${name}`,
    timeout: 60_000,
    fn: async () => {
      await using bus = new Bus(`memory:${crypto.randomUUID()}`);
      await leave(bus, make);
    },
  });
}

onRabbit(
  "a quiet source is told at once that its reader left",
  (bus) => leave(bus, emitter),
);

/** Interceptors of clients, services and listeners, and the headers that they send. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  type ClientInterceptor,
  type ConnectionContext,
  ConnectionDisposedError,
  contract,
  type Handlers,
  implement,
  type InterceptedRequest,
  InvalidValueError,
  local,
  RpcError,
  type SendOptions,
  Service,
  type ServiceInterceptor,
  type ServiceRequest,
  TimeoutError,
} from "../../../mod.ts";
import { until } from "../../setup/probe.ts";
import {
  all,
  type Bus,
  failureOf,
  onEachBus,
  sumHandlers,
  type Sums,
  sums,
} from "../support.ts";

/** A service with interceptors, and a client with others. */
async function open(
  bus: Bus,
  { client: around = [], service: inside = [], handlers = {} }: {
    readonly client?: readonly ClientInterceptor[];
    readonly service?: readonly ServiceInterceptor[];
    readonly handlers?: Partial<Handlers<Sums>>;
  },
) {
  const api = sums(bus.topic);
  const service = await Service.start({
    url: bus.url,
    host: "one",
    manager: implement(api, sumHandlers(handlers)),
    interceptors: inside,
    signals: false,
  });
  const connection = await bus.connect();
  const client = connection.client(api, { interceptors: around });
  return { service, connection, client };
}

async function close(
  { connection, service }: {
    readonly connection: ConnectionContext;
    readonly service: Service;
  },
): Promise<void> {
  await connection[Symbol.asyncDispose]();
  await service.stop();
}

/** The facts of a request, without its context. */
const facts = (
  { kind, procedure, version, args, headers, attempt }: InterceptedRequest,
) => ({ kind, procedure, version, args, headers, attempt });

onEachBus(
  "every verb passes the interceptors of its client and of its service, the first outermost",
  async (bus) => {
    const seen: InterceptedRequest[] = [];
    const served: ServiceRequest[] = [];
    const order: string[] = [];
    const opened = await open(bus, {
      client: [
        async (request, next) => {
          order.push("first");
          seen.push(request);
          const result = await next({ ...request, headers: { "a-b": "1" } });
          order.push("first again");
          return result;
        },
        async (request, next) => {
          order.push("second");
          const { headers } = request;
          return await next({ ...request, headers: { ...headers, c: "2" } });
        },
      ],
      service: [(request, next) => (served.push(request), next(request))],
    });
    const { client } = opened;
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    assert.deepEqual(order, ["first", "second", "first again"]);
    await client.cast("wait", { tag: "x" });
    await client.fanoutCast("wait", { tag: "y" });
    await until("both are served", () => served.length === 3);
    assert.deepEqual(await all(client.multicall("count", { to: 2 })), [1, 2]);
    const common = { version: "1.0", attempt: 1 };
    const sent = { headers: {}, ...common };
    const requests = [
      { kind: "call", procedure: "add", args: { a: 1, b: 2 } },
      { kind: "cast", procedure: "wait", args: { tag: "x" } },
      { kind: "fanout", procedure: "wait", args: { tag: "y" } },
      { kind: "multicall", procedure: "count", args: { to: 2 } },
    ];
    assert.deepEqual(
      seen.map(facts),
      requests.map((request) => ({ ...request, ...sent })),
    );
    const received = { headers: { "a-b": "1", c: "2" }, ...common };
    const byKind = (a: { kind: string }, b: { kind: string }) =>
      a.kind.localeCompare(b.kind);
    assert.deepEqual(
      served.map(facts).sort(byKind),
      requests.map((request) => ({ ...request, ...received })).sort(byKind),
    );
    assert.ok([...seen, ...served].every(({ topic }) => topic === bus.topic));
    await close(opened);
  },
);

onEachBus(
  "an interceptor changes arguments and results, tries again, answers itself, and throws; facts it cannot change",
  async (bus) => {
    let attempts = 0;
    const opened = await open(bus, {
      client: [async (request, next) => {
        const { args, procedure } = request;
        if (args.a === 100) return 7;
        if (args.a === 200) throw new RangeError("not sent");
        const changed = { ...request, procedure: "none", topic: "none" };
        const sum = await next({ ...changed, args: { ...args, b: 40 } })
          .catch(() => next(request));
        return procedure === "add" ? Number(sum) * 10 : sum;
      }],
      handlers: {
        add: ({ a, b }) => {
          attempts++;
          if (a === 50 && b === 40) throw new Error("not so");
          return a + b;
        },
      },
    });
    const { client } = opened;
    assert.equal(await client.call("add", { a: 1, b: 2 }), 410);
    assert.equal(await client.call("add", { a: 50, b: 2 }), 520);
    assert.equal(attempts, 3);
    assert.equal(await client.call("add", { a: 100, b: 2 }), 7);
    const refused = await failureOf(client.call("add", { a: 200, b: 2 }));
    assert.ok(refused instanceof RangeError);
    const wrong = await failureOf(
      client.call("add", { a: "1", b: 2 } as unknown as { a: 1; b: 2 }),
    );
    assert.ok(wrong instanceof InvalidValueError, "checked before");
    assert.equal(attempts, 3);
    await close(opened);
  },
);

onEachBus(
  "an interceptor wraps the items of a stream, which ends on its worker when the reader leaves",
  async (bus) => {
    let ended = false, closed = false;
    const opened = await open(bus, {
      client: [async (request, next) => {
        const items = await next(request) as AsyncIterable<number>;
        return (async function* () {
          try {
            for await (const item of items) yield item * 10;
          } finally {
            closed = true;
          }
        })();
      }],
      service: [async (request, next) => {
        const items = await next(request) as AsyncIterable<number>;
        return (async function* () {
          for await (const item of items) yield item + 1;
        })();
      }],
      handlers: {
        async *count({ to }, { signal }) {
          try {
            for (let n = 1; n <= to; n++) yield n;
            if (to === 3) {
              await new Promise<void>((resolve) =>
                signal.onabort = () => resolve()
              );
            }
          } finally {
            ended = true;
          }
        },
      },
    });
    const { client } = opened;
    const stream = client.multicall("count", { to: 2 });
    assert.deepEqual(await all(stream), [20, 30]);
    ended = closed = false;
    const left = client.multicall("count", { to: 3 });
    for (const item of [20, 30, 40]) {
      assert.equal((await left.next()).value, item);
    }
    const pending = left.next();
    await left.return();
    assert.deepEqual(await pending, { done: true, value: undefined });
    assert.equal(closed, true, "the interceptor's generator has ended");
    await until("the worker is told", () => ended);
    await close(opened);
  },
);

onEachBus("headers that cannot travel are refused", async (bus) => {
  let headers: unknown = {};
  const received: Readonly<Record<string, string>>[] = [];
  const opened = await open(bus, {
    client: [
      (request, next) =>
        next({ ...request, headers: headers as Record<string, string> }),
    ],
    service: [(request, next) => {
      received.push(request.headers);
      return next(request);
    }],
  });
  const add = () => opened.client.call("add", { a: 1, b: 2 });
  const messages: string[] = [];
  const many = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => [`h${n}`, "v"]));
  const wrong = [
    { "warren-to": "x" },
    { "x-death": "x" },
    { amqStream: "x" },
    { CC: "x" },
    { "a b": "x" },
    { "": "x" },
    { ["n".repeat(129)]: "x" },
    { n: 1 },
    many(65),
    { lone: "\ud800" },
    new Headers({ a: "b" }),
    new Map([["a", "b"]]),
    "a",
    ["a"],
    null,
    undefined,
    { big: "v".repeat(8 * 1024 - 2) },
  ];
  for (headers of wrong) {
    const error = await failureOf(add());
    assert.ok(error instanceof InvalidValueError, Deno.inspect(headers));
    assert.match(`${error.data.path}`, /^headers/);
    messages.push(error.message);
  }
  for (
    const text of [
      /"x-death": names that begin with warren-, x- or amq are reserved/,
      /"a b": a name has 1 to 128 characters/,
      /"n": the value must be a string/,
      /There are 65 application headers; the limit is 64/,
      /The application headers have 8193 bytes; the limit is 8192/,
    ]
  ) assert.ok(messages.some((message) => text.test(message)), `${text}`);
  assert.deepEqual(received, []);
  for (headers of [many(64), { big: "ü".repeat(4 * 1024 - 2) }, {}]) {
    assert.equal(await add(), 3);
    assert.deepEqual(received.pop(), headers);
  }
  let reads = 0;
  headers = {
    get a() {
      return reads++ === 0 ? "checked" : 1;
    },
  };
  assert.equal(await add(), 3);
  assert.deepEqual(received.pop(), { a: "checked" });
  await close(opened);
});

onEachBus(
  "what an interceptor writes to its request changes nothing of the caller's; next needs a request",
  async (bus) => {
    const opened = await open(bus, {
      client: [async (request, next) => {
        const none = undefined as unknown as InterceptedRequest;
        await assert.rejects(next(none), InvalidValueError);
        Object.assign(request.args, { b: 40 });
        return await next(request);
      }],
    });
    const args = { a: 1, b: 2 };
    assert.equal(await opened.client.call("add", args), 41);
    assert.deepEqual(args, { a: 1, b: 2 });
    await close(opened);
  },
);

type Around<R> = (
  request: R,
  next: (request: R) => Promise<unknown>,
) => Promise<unknown>;

/** Interceptors of which the outer one looks at `next` only after that has settled; `fails` = not at all. */
function late<R extends InterceptedRequest>(fails = false): Around<R>[] {
  const settled = Promise.withResolvers<void>();
  return [async (request, next) => {
    const result = next(request);
    await settled.promise;
    await new Promise((resolve) => setTimeout(resolve)); // unhandled rejections are reported before
    if (fails) throw new Error("meanwhile");
    return await result;
  }, async (request, next) => {
    try {
      return await next(request);
    } finally {
      settled.resolve();
    }
  }];
}

onEachBus(
  "an interceptor may await something else, or throw, while next rejects",
  async (bus) => {
    for (const fails of [false, true]) {
      const opened = await open(bus, {
        client: late(fails),
        service: late(fails),
        handlers: {
          add: () => {
            throw new Error("no");
          },
        },
      });
      const error = await failureOf(opened.client.call("add", { a: 1, b: 2 }));
      assert.match(error.message, fails ? /meanwhile/ : /no/);
      await close(opened);
      await using listener = await bus.connect();
      let failed = 0;
      const [outer, inner] = late<ServiceRequest>(fails);
      await listener.createListener(() => {
        throw new Error("no");
      }, {
        eventType: `${bus.topic}.late`,
        exclusive: true,
        retry: { attempts: 1 },
        interceptors: [
          (request, next) => next(request).finally(() => failed++),
          ...[outer, inner].filter((each) => each !== undefined),
        ],
      });
      await using connection = await bus.connect();
      await connection.notify(`${bus.topic}.late`, {});
      await until("it has failed", () => failed === 1);
    }
  },
);

onEachBus(
  "headers are there at the next attempt at a cast, and in its dead letter",
  async (bus) => {
    const headers = Object.fromEntries(
      Array.from({ length: 63 }, (_, n) => [`h${n}`, "v".repeat(20)]),
    );
    headers.long = "v".repeat(6 * 1024);
    const tag = z.object({ tag: z.string() });
    const retry = { attempts: 2, backoff: [100] } as const;
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      procedures: { fails: { args: tag, retry } },
    });
    const seen: ServiceRequest[] = [];
    await using service = await Service.start({
      url: bus.url,
      host: "one",
      signals: false,
      manager: implement(api, {
        fails: () => {},
      }),
      interceptors: [(request) => {
        seen.push(request);
        throw new Error("not now"); // before its dispatcher is asked
      }],
    });
    await using connection = await bus.connect();
    const interceptors: readonly ClientInterceptor[] = [
      (request, next) => next({ ...request, headers }),
    ];
    await connection.client(api, { interceptors }).cast("fails", { tag: "x" });
    await until("it is dead", () => service.stats.dead === 1);
    assert.deepEqual(
      seen.map(({ attempt, headers }) => ({ attempt, headers })),
      [{ attempt: 1, headers }, { attempt: 2, headers }],
    );
    await using raw = await bus.raw();
    if (!raw) return;
    const letter = await raw.channel.get(`${bus.topic}.dead`, { noAck: true });
    assert.ok(letter);
    const kept = letter.properties.headers ?? {};
    for (const [name, value] of Object.entries(headers)) {
      assert.equal(kept[name], value);
    }
  },
);

/** An error of a contract. */
class QuotaError extends RpcError {
  constructor(message: string) {
    super("INVALID", message);
    this.name = "QuotaError";
  }
}

onEachBus(
  "an interceptor of a service changes arguments, sets locals, and throws errors of the contract",
  async (bus) => {
    const user = local<{ readonly name: string }>("user");
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      errors: { "quota.QuotaError": QuotaError },
      procedures: {
        whoami: { args: z.object({ n: z.number() }), result: z.string() },
      },
    });
    await using _service = await Service.start({
      url: bus.url,
      host: "one",
      signals: false,
      manager: implement(api, {
        whoami: ({ n }, { locals }) => `${locals.get(user).name} ${n}`,
      }),
      interceptors: [
        async (request, next) => {
          const { args, context } = request;
          if (args.n === 13) throw new QuotaError("too much");
          if (args.n === 14) throw new TypeError("mine");
          context.locals.set(user, { name: `${context.values.user}` });
          const n = typeof args.n === "string" ? Number(args.n) : args.n;
          return await next({ ...request, args: { n } });
        },
      ],
    });
    await using connection = await bus.connect();
    const client = connection.client(api, { context: { user: "ada" } });
    assert.equal(await client.call("whoami", { n: 1 }), "ada 1");
    const target = { topic: bus.topic };
    const options = { context: { user: "eve" } };
    assert.equal(
      await connection.call(target, "whoami", { n: "2" }, options),
      "eve 2",
      "before the arguments are parsed",
    );
    const quota = await failureOf(client.call("whoami", { n: 13 }));
    assert.ok(quota instanceof QuotaError);
    const other = await failureOf(client.call("whoami", { n: 14 }));
    assert.equal(other.name, "RemoteError");
    assert.match(other.message, /TypeError/);
  },
);

onEachBus(
  "interceptors of a listener are around each event",
  async (bus) => {
    const seen: ServiceRequest[] = [];
    const payloads: unknown[] = [];
    await using listener = await bus.connect();
    const who = local<string>("who");
    await listener.createListener(({ payload }, { locals }) => {
      payloads.push([locals.get(who), payload]);
    }, {
      eventType: `${bus.topic}.*`,
      exclusive: true,
      interceptors: [(request, next) => {
        seen.push(request);
        request.context.locals.set(who, "me");
        if (request.args.skip) return undefined;
        return next({ ...request, args: { ...request.args, seen: true } });
      }],
    });
    await using connection = await bus.connect();
    await connection.notify(`${bus.topic}.a`, { id: 1 });
    await connection.notify(`${bus.topic}.b`, "text");
    await connection.notify(`${bus.topic}.c`, { skip: true });
    await until("all came", () => seen.length === 3);
    assert.deepEqual(payloads, [
      ["me", { id: 1, seen: true }],
      ["me", "text"],
    ]);
    assert.deepEqual(
      seen.map(({ kind, procedure, args, attempt }) => [
        ...[kind, procedure.slice(-1), args, attempt],
      ]),
      [
        ["notification", "a", { id: 1 }, 1],
        ["notification", "b", { payload: "text" }, 1],
        ["notification", "c", { skip: true }, 1],
      ],
    );
  },
);

onEachBus(
  "what a service's interceptor does around the items of a stream is in the context of its request",
  async (bus) => {
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      errors: { "quota.QuotaError": QuotaError },
      procedures: {
        many: { yields: z.string() },
        bad: { yields: z.string() },
        who: { result: z.string() },
        other: {},
      },
    });
    await using connection = await bus.connect();
    const client = connection.client(api);
    const otherBegan = Promise.withResolvers<void>();
    const otherEnds = Promise.withResolvers<void>();
    await using _service = await Service.start({
      url: bus.url,
      host: "one",
      signals: false,
      manager: implement(api, {
        async *many() {
          yield await client.call("who");
        },
        async *bad() {
          yield 1 as unknown as string;
        },
        who: (_args, { values }) => `${values.user}`,
        other: () => (otherBegan.resolve(), otherEnds.promise),
      }),
      interceptors: [async (request, next) => {
        const items = await next(request);
        const { procedure } = request;
        if (procedure !== "many" && procedure !== "bad") return items;
        return (async function* () {
          for await (const item of items as AsyncIterable<unknown>) {
            yield `${await client.call("who")} around ${item}`;
          }
          throw new QuotaError("enough");
        })();
      }],
    });
    const other = client.call("other", {}, { context: { user: "eve" } });
    await otherBegan.promise;
    try {
      const options = { context: { user: "bob" } };
      const stream = client.multicall("many", {}, options);
      assert.equal((await stream.next()).value, "bob around bob");
      assert.ok(await failureOf(stream.next()) instanceof QuotaError);
      const invalid = await failureOf(client.multicall("bad").next());
      assert.equal(invalid.name, "InvalidResultError");
    } finally {
      otherEnds.resolve();
      await other;
    }
  },
);

onEachBus(
  "an interceptor may read ahead of a stream that fails",
  async (bus) => {
    /** Begins each step, and awaits it only after it has settled. */
    const ahead = async <R>(
      request: R,
      next: (request: R) => Promise<unknown>,
    ) => {
      const items = await next(request) as AsyncIterable<number>;
      const iterator = items[Symbol.asyncIterator]();
      return (async function* () {
        for (;;) {
          const step = iterator.next();
          await step.then(() => {}, () => {});
          const again = iterator.next();
          await new Promise((resolve) => setTimeout(resolve));
          const { value, done } = await step;
          if (done) return;
          yield value;
          const { done: ended } = await again;
          if (ended) return;
        }
      })();
    };
    const opened = await open(bus, {
      client: [ahead],
      service: [ahead],
      handlers: {
        async *count() {
          yield 1;
          await undefined;
          throw new Error("broken");
        },
      },
    });
    const stream = opened.client.multicall("count", { to: 1 });
    assert.equal((await stream.next()).value, 1);
    assert.match((await failureOf(stream.next())).message, /broken/);
    await close(opened);
  },
);

onEachBus(
  "a service's interceptor that hangs inside of a stream keeps no request active",
  async (bus) => {
    let ended = false;
    const hanging = Promise.withResolvers<void>();
    const opened = await open(bus, {
      service: [async (request, next) => {
        const items = await next(request) as AsyncIterable<unknown>;
        return (async function* () {
          for await (const item of items) {
            yield item;
            hanging.resolve();
            await new Promise(() => {});
          }
        })();
      }],
      handlers: {
        async *count() {
          try {
            yield* [1, 2, 3];
          } finally {
            ended = true;
          }
        },
      },
    });
    const { client, service } = opened;
    const stream = client.multicall("count", { to: 3 });
    assert.equal((await stream.next()).value, 1);
    await hanging.promise;
    assert.equal(service.stats.active, 1);
    await stream.return();
    await until("the request is over", () => service.stats.active === 0);
    assert.equal(ended, true, "the handler's stream as well");
    await close(opened);
  },
);

onEachBus(
  "deadline, signal and disposal end a verb whatever the interceptors of its client do",
  async (bus) => {
    let began = 0;
    const opened = await open(bus, {
      client: [() => {
        began++;
        return new Promise(() => {});
      }],
    });
    const { client, connection } = opened;
    const args = { a: 1, b: 2 };
    const verbs = [
      (options: SendOptions) => client.call("add", args, options),
      (options: SendOptions) => client.cast("add", args, options),
      (options: SendOptions) => client.fanoutCast("add", args, options),
      (options: SendOptions) =>
        client.multicall("count", { to: 1 }, options).next(),
    ];
    for (const verb of verbs) {
      const late = await failureOf(verb({ timeout: 50 }));
      assert.ok(late instanceof TimeoutError);
      assert.equal(late.inDoubt, false);
      const before = began;
      const stopped = new Error("stopped");
      const signal = AbortSignal.abort(stopped);
      assert.equal(await failureOf(verb({ signal })), stopped);
      assert.equal(began, before);
      const stopping = new AbortController();
      const pending = failureOf(verb({ signal: stopping.signal }));
      await until("the interceptor has begun", () => began > before);
      stopping.abort(stopped);
      assert.equal(await pending, stopped);
    }
    const before = began;
    const pending = verbs.map((verb) => failureOf(verb({})));
    await until("all have begun", () => began === before + verbs.length);
    await connection[Symbol.asyncDispose]();
    for (const error of await Promise.all(pending)) {
      assert.ok(error instanceof ConnectionDisposedError);
    }
    for (const verb of verbs) {
      const error = await failureOf(verb({}));
      assert.ok(error instanceof ConnectionDisposedError);
      assert.equal(error.inDoubt, false);
    }
    assert.equal(began, before + verbs.length);
    await opened.service.stop();
  },
);

onEachBus(
  "next gets what remains of the time, and an interceptor may answer for what came too late",
  async (bus) => {
    const lefts: number[] = [];
    const release = Promise.withResolvers<void>();
    const opened = await open(bus, {
      client: [async (request, next) => {
        if (request.args.a === 1) {
          await new Promise((resolve) => setTimeout(resolve, 30));
          return await next(request);
        }
        return await next(request).catch(() => 7);
      }],
      handlers: {
        add: async (_args, { deadline }) => {
          lefts.push(deadline - Date.now());
          await release.promise;
          return 3;
        },
      },
    });
    const { client } = opened;
    const first = client.call("add", { a: 1, b: 2 }, { timeout: 5_000 });
    await until("it is served", () => lefts.length === 1);
    assert.ok(lefts[0] !== undefined && lefts[0] < 4_980, `${lefts}`);
    const fallback = client.call("add", { a: 2, b: 2 }, { timeout: 200 });
    assert.equal(await fallback, 7);
    release.resolve();
    assert.equal(await first, 3);
    await close(opened);
  },
);

onEachBus(
  "leaving a stream ends what its interceptors await, also before it has begun",
  async (bus) => {
    const began = Promise.withResolvers<void>();
    const slow = Promise.withResolvers<void>();
    const returned = Promise.withResolvers<void>();
    const items = {
      next: () => Promise.resolve({ done: false, value: 42 }),
      return: () => {
        returned.resolve();
        return Promise.resolve({ done: true, value: undefined });
      },
      [Symbol.asyncIterator]: () => items,
    };
    const opened = await open(bus, {
      client: [async (request, next) => {
        if (request.args.to === 1) {
          began.resolve();
          await slow.promise;
          return items;
        }
        const inner = await next(request) as AsyncIterable<number>;
        return (async function* () {
          for await (const item of inner) {
            if (item === 3) await new Promise(() => {});
            if (item === 2) yield item;
          }
        })();
      }],
    });
    const { client } = opened;
    const done = { done: true, value: undefined };
    const unbegun = client.multicall("count", { to: 1 });
    const first = unbegun.next();
    await began.promise;
    assert.deepEqual(await unbegun.return(), done);
    assert.deepEqual(await first, done);
    slow.resolve();
    await returned.promise;
    const stream = client.multicall("count", { to: 3 }, { timeout: 1_000 });
    assert.equal((await stream.next()).value, 2);
    const second = stream.next();
    const left = stream.return();
    assert.deepEqual(await second, done);
    assert.deepEqual(await left, done);
    const silent = client.multicall("count", { to: 3 }, { timeout: 200 });
    assert.equal((await silent.next()).value, 2);
    const error = await failureOf(silent.next());
    assert.ok(error instanceof TimeoutError);
    assert.match(error.message, /the interceptors of/);
    assert.deepEqual(await silent.next(), done);
    await close(opened);
  },
);

onEachBus(
  "maxDuration begins with the first interceptor, and next is called once where the delivery is at-most-once",
  async (bus) => {
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      procedures: {
        slow: { maxDuration: 50, retry: { attempts: 1 } },
        once: { delivery: "at-most-once", result: z.number() },
      },
    });
    let runs = 0;
    await using service = await Service.start({
      url: bus.url,
      host: "one",
      signals: false,
      manager: implement(api, { slow: () => {}, once: () => ++runs }),
      interceptors: [async (request, next) => {
        if (request.procedure === "slow") await new Promise(() => {});
        await next(request);
        return await next(request);
      }],
    });
    await using connection = await bus.connect();
    const client = connection.client(api);
    await client.cast("slow");
    await until("its time is over", () => service.stats.dead === 1);
    const twice = await failureOf(client.call("once"));
    assert.match(twice.message, /next a second time/);
    assert.equal(runs, 1);
  },
);

Deno.test("interceptors that are no functions are refused", async () => {
  const url = `memory:${crypto.randomUUID()}`;
  const api = sums("refused");
  const manager = implement(api, sumHandlers());
  const interceptors = ["x"] as unknown as [];
  await assert.rejects(
    Service.start({ url, manager, interceptors, signals: false }),
    /Invalid option interceptors/,
  );
});

/** What travels of a result: the parsed value where JSON carries it exactly, else what the handler gave, never a mixture. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "npm:fast-check@^4.10.2";
import { z } from "npm:zod@^4.6.7";
import {
  type ConnectionContext,
  contract,
  createConnection,
  implement,
  InvalidResultError,
  InvalidValueError,
  memoryLedgerStore,
  type RequestContext,
  type Schema,
  Service,
  type ServiceInterceptor,
} from "../../../mod.ts";
import { createTypedClient } from "../../../src/rpc/client/typed_client.ts";
import { encode } from "../../../src/wire/codec.ts";
import { grizzly } from "../../../src/wire/dialect.ts";
import { until } from "../../setup/probe.ts";
import { all, failureOf, onEachBus, onRabbit } from "../support.ts";

const date = z.iso.datetime().transform((text) => new Date(text));
const AT = "2026-01-01T00:00:00.000Z";
const LATER = "2026-02-02T00:00:00.000Z";

/** A worker whose procedures give `value`, with results and items of a schema, and a client of it. */
async function serving(schema: Schema, value: () => unknown) {
  const url = `memory:values-${crypto.randomUUID()}`;
  const api = contract({
    topic: "values",
    version: "1.0",
    procedures: {
      get: { result: schema },
      items: { yields: schema },
    },
  });
  const stack = new AsyncDisposableStack();
  const manager = implement(api, {
    get: () => value(),
    items: async function* () {
      yield value();
      yield value();
    },
  });
  stack.use(await Service.start({ url, signals: false, manager }));
  const connection = stack.use(await createConnection(url));
  return { stack, connection, client: connection.client(api) };
}

const row = z.object({ at: date, note: z.string().optional() });
const rows = [{ at: LATER, note: "b" }, { at: AT }, { at: AT, note: "c" }];
const byTime = (a: { at: Date }, b: { at: Date }) => +a.at - +b.at;

Deno.test.each<[string, Schema, unknown]>([
  ["sorted", z.array(row).transform((l) => l.toSorted(byTime)), rows],
  ["reversed", z.array(row).transform((l) => l.toReversed()), rows],
  ["filtered", z.array(row).transform((l) => l.filter((r) => r.note)), rows],
  ["flattened", z.array(z.array(row)).transform((l) => l.flat()), [rows, rows]],
  ["picked", z.array(row).transform((l) => l[1]), rows],
  [
    "renamed",
    z.object({ at: date, id: z.string() })
      .transform(({ at, id }) => ({ time: at, key: id })),
    { at: AT, id: "x", extra: 1 },
  ],
  [
    "with keys in capitals",
    z.record(z.string().toUpperCase(), date),
    { a: AT, b: LATER },
  ],
  ["a Map", z.array(row).transform((l) => new Map(l.entries())), rows],
  ["a list with holes", z.string().transform((s) => [s, undefined]), "x"],
  ["NaN", z.string().transform(Number), "x"],
  ["a bigint", z.string().transform(BigInt), "12345678901234567890"],
  [
    "the match of a RegExp",
    z.string().transform((s) => /(?<a>.)/.exec(s)),
    "x",
  ],
  [
    "with a symbol for a key",
    z.string().transform((s) => ({ s, [Symbol.for("values.key")]: 1 })),
    "x",
  ],
  [
    "a list of a class",
    z.array(z.number()).transform((l) =>
      new (class Rows extends Array {})(...l)
    ),
    [3, 1, 2],
  ],
])(
  "a result and an item that come %s arrive as the schema gives them",
  async (_name, schema, given) => {
    const { stack, client } = await serving(schema, () => given);
    await using _all = stack;
    const want = await z.parseAsync(schema as z.ZodType, given);
    const got = await client.call("get");
    // A class of the schema's own is made anew at each end.
    const plain = (value: unknown) =>
      Array.isArray(value) && Object.getPrototypeOf(value) !== Array.prototype
        ? [...value]
        : value;
    assert.deepEqual(plain(got), plain(want));
    const items = await all(client.multicall("items"));
    assert.deepEqual(items.map(plain), [plain(want), plain(want)]);
  },
);

/** Keys as objects have them. */
const key = fc.constantFrom("a", "b", "c", "at", "note", "Ä", "x y");
const stamp = fc.constantFrom(AT, LATER, "2020-12-31T23:59:59.999Z");
const changes = fc.constantFrom<readonly [string, (l: unknown[]) => unknown]>(
  ["as it is", (l) => l],
  ["reversed", (l) => l.toReversed()],
  [
    "sorted",
    (l) => l.toSorted((a, b) => JSON.stringify(a) < JSON.stringify(b) ? -1 : 1),
  ],
  ["filtered", (l) => l.filter((_, i) => i % 2)],
  ["first", (l) => l[0] ?? null],
  ["doubled", (l) => [...l, ...l]],
  ["keyed", (l) => Object.fromEntries(l.map((item, i) => [`k${i}`, item]))],
  ["renamed", (l) => l.map((item) => ({ it: item, n: l.length }))],
);
/** A value with its schema: dates or not, optional keys, unknown keys. */
interface Shape {
  readonly schema: z.ZodType;
  readonly value: unknown;
}
const { shape } = fc.letrec<
  { shape: Shape; list: Shape; record: Shape; leaf: Shape }
>(
  (tie) => ({
    shape: fc.oneof({ maxDepth: 3 }, tie("leaf"), tie("list"), tie("record")),
    leaf: fc.oneof(
      stamp.map((value) => ({ schema: date, value })),
      fc.string().map((value) => ({ schema: z.string(), value })),
      fc.integer().map((value) => ({ schema: z.number(), value })),
      fc.constant({ schema: z.null(), value: null }),
      fc.string().map((value) => ({
        schema: z.string().transform((s) => s.length),
        value,
      })),
    ),
    list: fc.tuple(
      fc.oneof(stamp.map(() => date), fc.constant(z.string())),
      fc.array(stamp, { maxLength: 4 }),
      changes,
    ).map(([item, value, [, change]]) => ({
      schema: z.array(z.object({ v: item, note: z.string().optional() }))
        .transform((l) => change(l)),
      value: value.map((v, i) => i % 2 ? { v, unknown: 1 } : { v, note: "n" }),
    })),
    record: fc.tuple(
      fc.dictionary(key, tie("shape"), { maxKeys: 4, noNullPrototype: true }),
      fc.constantFrom("keep", "upper", "wrap"),
      fc.boolean(),
    ).map(([members, how, extra]) => {
      const shapes = Object.entries(members);
      const inner = z.object({
        ...Object.fromEntries(shapes.map(([k, { schema }]) => [k, schema])),
        absent: z.string().optional(),
      });
      const value = {
        ...Object.fromEntries(shapes.map(([k, { value }]) => [k, value])),
        ...(extra && { dropped: { secret: 1 } }),
      };
      const upper = (o: object) =>
        Object.fromEntries(Object.entries(o).map(([k, v]) => [`${k}!`, v]));
      const schema = how === "keep"
        ? inner
        : inner.transform((o) => how === "upper" ? upper(o) : [o, { o }]);
      return { schema, value };
    }),
  }),
);

Deno.test("a caller gets exactly what the schema makes of the handler's value, whatever its shape", async () => {
  let now: Shape = { schema: z.null(), value: null };
  const changing: Schema = {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value) => now.schema["~standard"].validate(value) as never,
    },
  };
  const { stack, client } = await serving(changing, () => now.value);
  await using _all = stack;
  await fc.assert(
    fc.asyncProperty(shape, async (drawn) => {
      now = drawn;
      assert.deepEqual(
        await client.call("get"),
        now.schema.parse(now.value),
      );
    }),
    { numRuns: 300 },
  );
});

Deno.test("an interceptor that reads ahead of a stream changes nothing of items that JSON cannot carry", async () => {
  const url = `memory:values-${crypto.randomUUID()}`;
  const api = contract({
    topic: "values",
    version: "1.0",
    procedures: { items: { yields: z.string().transform(BigInt) } },
  });
  const manager = implement(api, {
    items: async function* () {
      yield* ["1", "2", "3"];
    },
  });
  const ahead: ServiceInterceptor = async (request, next) => {
    const items = await next(request);
    const read = await Array.fromAsync(items as AsyncIterable<unknown>);
    return (async function* () {
      yield* read;
    })();
  };
  const interceptors = [ahead];
  const options = { url, signals: false, manager, interceptors };
  await using _service = await Service.start(options);
  await using connection = await createConnection(url);
  const items = connection.client(api).multicall("items");
  assert.deepEqual(await all(items), [1n, 2n, 3n]);
});

const nothing = (topic: string) =>
  contract({
    topic,
    version: "1.0",
    procedures: {
      bare: {},
      nothing: { result: z.void() },
      undef: { result: z.undefined() },
      maybe: { result: z.string().nullable().optional() },
      any: { result: z.any() },
      unknown: { result: z.unknown() },
      gone: { result: z.string().transform(() => undefined) },
      map: { result: z.undefined().transform(() => new Map([[1, 2]])) },
      none: { result: z.string().nullable().optional() },
      items: { yields: z.string().nullable().optional() },
    },
  });
const nothingDone = () => ({
  bare: () => {},
  nothing: () => {},
  undef: () => undefined,
  maybe: () => undefined,
  any: () => undefined,
  unknown: () => undefined,
  gone: () => "x",
  map: () => undefined,
  none: () => null,
  items: async function* () {
    yield undefined;
    yield null;
    yield "x";
  },
});

onEachBus(
  "a result that is undefined arrives as undefined, also where null is another result",
  async (bus) => {
    const api = nothing(bus.topic);
    await using _worker = await bus.serve(api, nothingDone());
    await using connection = await bus.connect();
    const client = connection.client(api);
    for (
      const method of [
        "bare",
        "nothing",
        "undef",
        "maybe",
        "any",
        "unknown",
        "gone",
      ] as const
    ) {
      assert.equal(await client.call(method), undefined, method);
      const target = { topic: bus.topic };
      assert.equal(await connection.call(target, method), undefined, method);
    }
    assert.deepEqual(await client.call("map"), new Map([[1, 2]]));
    assert.equal(await client.call("none"), null);
    assert.deepEqual(await all(client.multicall("items")), [
      undefined,
      null,
      "x",
    ]);
  },
);

Deno.test("to Warren no result is a missing key beside what an older one reads; to others it is null", () => {
  const said = { kind: "reply", call: "c", ending: true } as const;
  const bodyOf = (more: object) =>
    JSON.parse(
      new TextDecoder().decode(encode({ ...said, ...more }, grizzly).body),
    );
  const empty = bodyOf({ empty: true, parsed: true });
  assert.deepEqual(Object.keys(empty).sort(), ["_msg_id", "ending", "failure"]);
  assert.equal(empty.failure, null); // by which older Warrens know it for an answer
  assert.equal(bodyOf({}).result, null);
  assert.equal("result" in bodyOf({}), true);
});

onRabbit(
  "a peer that is no Warren gets null for no result",
  async (bus) => {
    const api = nothing(bus.topic);
    await using _worker = await bus.serve(api, nothingDone());
    await using raw = await bus.raw();
    const queue = bus.name("answers");
    await raw!.channel.assertQueue(queue);
    const ask = JSON.stringify({
      method: "maybe",
      args: {},
      _msg_id: "m1",
      _reply_q: queue,
      _timeout: null,
      _unique_id: "u1",
    });
    raw!.channel.sendToQueue(
      bus.topic,
      Buffer.from(ask),
      {
        contentType: "application/json",
      },
    );
    const answer = await until("the answer", () => raw!.channel.get(queue));
    const body = JSON.parse(String((answer as { content: unknown }).content));
    assert.equal(body.result, null);
    assert.equal("result" in body, true);
  },
);

Deno.test("null of a peer that parsed nothing is no value to a schema that takes no null", async () => {
  const api = nothing("t");
  const caller = {
    call: () => Promise.resolve({ value: null, parsed: false }),
  } as never;
  const client = createTypedClient(caller, api);
  assert.equal(await client.call("nothing"), undefined);
  assert.equal(await client.call("none"), null);
  await assert.rejects(
    () => client.call("gone"),
    /Invalid result of t\.gone/,
  );
});

onEachBus(
  "a cast whose work was done is no dead letter, whatever its handler gives",
  async (bus) => {
    const done: string[] = [];
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      procedures: {
        wrong: { result: z.number() },
        cannot: { result: z.any() },
        undef: { result: z.undefined() },
        throws: {
          result: z.string().transform(() => {
            throw new Error("no");
          }),
        },
      },
    });
    await using worker = await bus.serve(api, {
      wrong: () => (done.push("wrong"), "text" as unknown as number),
      cannot: () => (done.push("cannot"), new Date()),
      undef: () => void done.push("undef"),
      throws: () => (done.push("throws"), "x"),
    });
    await using connection = await bus.connect();
    const client = connection.client(api);
    for (const name of ["wrong", "cannot", "undef", "throws"] as const) {
      await client.cast(name);
    }
    await until("all are handled", () => worker.stats.handled === 4);
    assert.equal(worker.stats.dead, 0);
    assert.equal(worker.stats.failed, 0);
    assert.equal(done.length, 4);
    assert.ok(
      await failureOf(client.call("wrong")) instanceof InvalidResultError,
    );
  },
);

Deno.test("a cast is recorded without a result that its contract has", async () => {
  const url = `memory:values-${crypto.randomUUID()}`;
  const api = contract({
    topic: "values",
    version: "1.0",
    procedures: { pay: { result: z.number() } },
  });
  const done = Promise.withResolvers<void>();
  const manager = implement(api, {
    pay: async (_args: unknown, { record }: RequestContext) => {
      await record({}).then(done.resolve, done.reject);
      return 1;
    },
  });
  await using _service = await Service.start({
    url,
    signals: false,
    manager,
    ledger: memoryLedgerStore(),
  });
  await using connection: ConnectionContext = await createConnection(url);
  await connection.client(api).cast("pay");
  await done.promise;
});

Deno.test("a result that does not fit cannot be recorded, and is the worker's fault", async () => {
  const url = `memory:values-${crypto.randomUUID()}`;
  const api = contract({
    topic: "values",
    version: "1.0",
    procedures: { pay: { result: z.number() } },
  });
  const errors: unknown[] = [];
  const manager = implement(api, {
    pay: async (_args: unknown, { record }: RequestContext) => {
      await record({}, "text").catch((error) => errors.push(error));
      return 1;
    },
  });
  await using _service = await Service.start({
    url,
    signals: false,
    manager,
    ledger: memoryLedgerStore(),
  });
  await using connection: ConnectionContext = await createConnection(url);
  assert.equal(await connection.client(api).call("pay"), 1);
  const [error] = errors;
  assert.ok(error instanceof InvalidResultError, `${error}`);
  assert.equal(error.code, "INVALID_RESULT");
});

onEachBus(
  "NaN, which no type can tell from other numbers, is refused at run time by its path",
  async (bus) => {
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      procedures: {
        nan: { result: z.object({ n: z.nan() }) },
        take: { args: z.object({ n: z.nan() }) },
      },
    });
    await using _worker = await bus.serve(api, {
      nan: () => ({ n: NaN }),
      take: () => {},
    });
    await using connection = await bus.connect();
    const client = connection.client(api);
    const calls = [
      [() => client.call("nan"), InvalidResultError],
      [() => client.call("take", { n: NaN }), InvalidValueError],
    ] as const;
    for (const [call, expected] of calls) {
      const error = await failureOf(call());
      assert.ok(error instanceof expected);
      assert.match(error.message, /\.n is NaN, which JSON cannot represent/);
    }
  },
);

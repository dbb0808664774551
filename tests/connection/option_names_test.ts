/** Options objects: a misspelt option is refused in each of them, and `undefined` is what is not given. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import * as warren from "../../mod.ts";
import type { RpcClient } from "../../src/rpc/client/rpc_client.ts";
import { createTypedClient } from "../../src/rpc/client/typed_client.ts";

const url = () => `memory:names-${crypto.randomUUID()}`;
const api = warren.contract({
  topic: "names",
  version: "1.0",
  procedures: {
    where: { result: z.string() },
    slow: { args: z.object({ ms: z.number() }), idempotent: true },
    tail: { yields: z.string() },
  },
});
type Where = { where: () => string };
const handlers = (where: string): warren.Handlers<typeof api> => ({
  where: () => where,
  slow: (_args, { signal }) =>
    new Promise((resolve) =>
      signal.addEventListener("abort", () => resolve(), { once: true })
    ),
  tail: async function* () {
    yield where;
  },
});
const at = (where: string) => warren.implement(api, handlers(where));
const contract = warren.contract as unknown as (declared: object) => unknown;
/** Options that the compiler would refuse. */
const odd = <T>(options: Record<string, unknown>) => options as T;

Deno.test("a misspelt option is refused by its name in every options object", async () => {
  const where = url();
  await using connection = await warren.createConnection(where);
  const client = connection.client(api);
  const target = { topic: "names" };
  const dispatcher = new warren.RpcDispatcher([at("x")]);
  const manager = at("x");
  const wrong = { misspelt: 1 };
  const cases: readonly [string, string, () => unknown][] = [
    ["createConnection", "", () => warren.createConnection(where, odd(wrong))],
    [
      "tls",
      "tls.",
      () => warren.createConnection(where, { tls: odd(wrong) }),
    ],
    [
      "profile",
      "profile.",
      () => warren.createConnection(where, { profile: odd(wrong) }),
    ],
    [
      "notifications",
      "notifications.",
      () => warren.createConnection(where, { notifications: odd(wrong) }),
    ],
    [
      "Service.start",
      "",
      () =>
        warren.Service.start({ url: where, manager, ...odd<object>(wrong) }),
    ],
    [
      "a periodic task",
      "periodic.",
      () =>
        warren.Service.start({
          url: where,
          signals: false,
          manager: warren.implement(api, handlers("x"), {
            periodic: [odd({ every: 1000, run: () => {}, ...wrong })],
          }),
        }),
    ],
    ["loadConfig", "", () => warren.loadConfig(odd(wrong))],
    ["launch", "", () => warren.launch([], odd(wrong))],
    ["implement", "", () => warren.implement(api, handlers("x"), odd(wrong))],
    [
      "watchConfig",
      "",
      () => warren.watchConfig(warren.loadConfig({ url: where }), odd(wrong)),
    ],
    [
      "runPeriodicTasks",
      "",
      () => warren.runPeriodicTasks(manager, odd(wrong)),
    ],
    ["memoryLedgerStore", "", () => warren.memoryLedgerStore(odd(wrong))],
    [
      "postgresLedgerStore",
      "",
      () =>
        warren.postgresLedgerStore(
          { query: () => Promise.resolve({ rows: [] }) },
          odd(wrong),
        ),
    ],
    ["client", "", () => connection.client(api, odd(wrong))],
    ["client.call", "", () => client.call("where", {}, odd(wrong))],
    ["client.cast", "", () => client.cast("where", {}, odd(wrong))],
    ["client.fanoutCast", "", () => client.fanoutCast("where", {}, odd(wrong))],
    ["client.multicall", "", () => client.multicall("tail", {}, odd(wrong))],
    ["call", "", () => connection.call(target, "where", {}, odd(wrong))],
    ["cast", "", () => connection.cast(target, "where", {}, odd(wrong))],
    [
      "fanoutCast",
      "",
      () => connection.fanoutCast(target, "where", {}, odd(wrong)),
    ],
    [
      "multicall",
      "",
      () => connection.multicall(target, "where", {}, odd(wrong)),
    ],
    [
      "the target of call",
      "target.",
      () => connection.call(odd({ ...target, ...wrong }), "where"),
    ],
    [
      "the target of fanoutCast",
      "target.",
      () => connection.fanoutCast(odd({ ...target, ...wrong }), "where"),
    ],
    ["notify", "", () => connection.notify("x", {}, odd(wrong))],
    [
      "notified",
      "",
      () => warren.withNotifications(connection, "x", () => {}, odd(wrong)),
    ],
    [
      "createListener",
      "",
      () => connection.createListener(() => {}, odd(wrong)),
    ],
    [
      "createConsumer",
      "",
      () => connection.createConsumer("names", dispatcher, odd(wrong)),
    ],
    ["services", "", () => connection.services(odd(wrong)).next()],
    [
      "contract",
      "",
      () => contract({ ...api, ...wrong }),
    ],
    [
      "a procedure",
      "procedures.a.",
      () => contract({ ...api, procedures: { a: wrong } }),
    ],
    [
      "retry",
      "procedures.a.retry",
      () =>
        contract({
          ...api,
          procedures: { a: { retry: { attempts: 2, ...wrong } } },
        }),
    ],
  ];
  for (const [name, prefix, use] of cases) {
    await assert.rejects(async () => await use(), (error) => {
      assert.ok(error instanceof warren.InvalidValueError, `${name}: ${error}`);
      const path = prefix.endsWith("retry") ? prefix : `${prefix}misspelt`;
      assert.equal(error.data.path, path, name);
      assert.match(error.message, /misspelt.*(give|allowed)/, name);
      return true;
    });
  }
});

Deno.test("an option that is undefined leaves the client's default alone, in every verb", async () => {
  const where = url();
  await using _one = await warren.Service.start({
    url: where,
    host: "one",
    signals: false,
    manager: at("one"),
  });
  await using _two = await warren.Service.start({
    url: where,
    host: "two",
    signals: false,
    manager: at("two"),
  });
  await using connection = await warren.createConnection(where);
  const client = connection.client(api, { host: "one" });
  const host = undefined;
  const answers = new Set<string>();
  for (let i = 0; i < 6; i++) {
    answers.add(await client.call("where", {}, { host }));
    for await (const item of client.multicall("tail", {}, { host })) {
      answers.add(item);
    }
    const target = { topic: "names", host: "one" };
    answers.add(String(await connection.call(target, "where", {}, { host })));
    for await (
      const item of connection.multicall(target, "tail", {}, { host })
    ) answers.add(String(item));
    for await (
      const item of connection.multicall({ topic: "names" }, "tail", {}, {
        host: "one",
      })
    ) answers.add(String(item));
  }
  assert.deepEqual([...answers], ["one"]);
});

Deno.test("timeout, signal and context of a client hold where a call gives undefined", async () => {
  const where = url();
  const seen: unknown[] = [];
  const manager = warren.implement(api, {
    ...handlers("x"),
    where: (_args, { values }) => {
      seen.push(values.user);
      return "x";
    },
  });
  await using _service = await warren.Service.start({
    url: where,
    signals: false,
    manager,
  });
  await using connection = await warren.createConnection(where);
  const context = { user: "ada" };
  const timed = connection.client(api, { timeout: 30, context });
  const nothing = { timeout: undefined, signal: undefined, context: undefined };
  await assert.rejects(
    () => timed.call("slow", { ms: 1 }, nothing),
    warren.TimeoutError,
  );
  const patient = connection.client(api, { context });
  await patient.call("where", {}, nothing);
  assert.deepEqual(seen, ["ada"]);
  const signal = AbortSignal.abort(new Error("mine"));
  await assert.rejects(
    () => connection.client(api, { signal }).cast("where", {}, nothing),
    /mine/,
  );
});

Deno.test("undefined among the options or defaults of a client does not override that a procedure is idempotent", async () => {
  const seen: unknown[] = [];
  const caller = {
    call: ({ options }: { readonly options: warren.CallOptions }) => {
      seen.push(options.idempotent);
      return Promise.resolve({ value: null, parsed: true });
    },
  } as unknown as RpcClient;
  const idempotent = undefined;
  await createTypedClient(caller, api, { idempotent }).call("slow", { ms: 1 });
  await createTypedClient(caller, api).call("slow", { ms: 1 }, { idempotent });
  const never = { idempotent: false };
  await createTypedClient(caller, api, never).call("slow", { ms: 1 }, {
    idempotent,
  });
  assert.deepEqual(seen, [true, true, false]);
});

Deno.test("undefined in hooks, spacing and errors is what is not given", async () => {
  const where = url();
  const manager = warren.implement(api, handlers("x"), {
    initHost: undefined,
    periodic: undefined,
  });
  const spacing = { task: undefined } as unknown as Record<string, number>;
  await using service = await warren.Service.start({
    url: where,
    signals: false,
    manager,
    taskIntervals: spacing,
  });
  service.setTaskIntervals(spacing);
  assert.equal(
    warren.loadConfig({ url: where, taskIntervals: spacing }).taskIntervals
      .task,
    undefined,
  );
  const inDoubt = undefined;
  assert.equal(new warren.TimeoutError("x", { inDoubt }).inDoubt, true);
  assert.equal(new warren.UnconfirmedError("x", { inDoubt }).inDoubt, true);
  const failure = { type: "E", module: "", message: "m", traceback: [] };
  const remote = new warren.RemoteError(
    { ...failure, data: { id: 1 } },
    { data: undefined },
  );
  assert.deepEqual(remote.data, { id: 1 });
});

Deno.test("a configuration, an object of a class and a contract as a target have further names", async () => {
  const where = url();
  const config = warren.loadConfig({ url: where, host: "one", signals: false });
  await using _service = await warren.Service.start({
    ...config,
    manager: at("one"),
  });
  await using connection = await warren.createConnection(config.url, config);
  class Mine implements warren.CallOptions {
    readonly timeout = 5_000;
    readonly note = "mine";
  }
  assert.equal(await connection.call(api, "where", {}, new Mine()), "one");
});

class Base {
  readonly #name: string;
  protected uses = 0;
  constructor(name: string) {
    this.#name = name;
  }
  get name(): string {
    return `${this.#name}${++this.uses}`;
  }
  async *tail() {
    yield this.name;
  }
}
class Impl extends Base implements warren.Handlers<typeof api> {
  started = false;
  slow = async () => {};
  where(): string {
    return this.name;
  }
  initHost(): void {
    this.started = true;
  }
}

Deno.test("implement takes the methods of an object's class and of its base, with the object as their this", async () => {
  const where = url();
  const impl = new Impl("i");
  await using _service = await warren.Service.start({
    url: where,
    signals: false,
    manager: warren.implement(api, impl),
  });
  await using connection = await warren.createConnection(where);
  const client = connection.client(api);
  assert.equal(await client.call("where"), "i1");
  assert.deepEqual(await Array.fromAsync(client.multicall("tail")), ["i2"]);
  await client.call("slow", { ms: 1 });
  assert.equal(impl.started, true);
});

Deno.test("implement prefers an object's own method to that of its class, and still misses one that nobody has", () => {
  const impl = new Impl("i");
  Object.assign(impl, { where: () => "own" });
  const manager = warren.implement(api, impl);
  const context = warren.requestContext();
  assert.equal((manager as unknown as Where).where(), "own");
  assert.equal(manager.where({}, context), "own");
  class Half {
    where() {
      return "x";
    }
  }
  const half = warren.implement(
    api,
    new Half() as unknown as warren.Handlers<typeof api>,
  );
  assert.throws(
    () => new warren.RpcDispatcher([half]),
    /the manager has no method (slow|tail)/,
  );
});

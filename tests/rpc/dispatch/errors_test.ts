/** Errors of handlers and of the dispatcher, as callers see them. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  implement,
  InvalidValueError,
  NoSuchMethodError,
  RemoteError,
  requestContext,
  RpcDispatcher,
  type RpcErrorOptions,
  UnsupportedVersionError,
} from "../../../mod.ts";
import {
  type Bus,
  failureOf,
  onEachBus,
  sumHandlers,
  sums,
} from "../support.ts";

class NotFound extends Error {
  readonly id: unknown;
  readonly data: RpcErrorOptions["data"];
  constructor(message: string, { data }: RpcErrorOptions = {}) {
    super(message);
    this.id = data?.id;
    this.data = data;
  }
}
class Busy extends Error {}

const zoo = (topic: string) =>
  contract({
    topic,
    version: "1.0",
    errors: { "zoo.NotFound": NotFound },
    procedures: { fail: { args: z.object({ how: z.string() }) } },
  });

const thrown: Record<string, () => unknown> = {
  listed: () => new NotFound("no x", { data: { id: "x" } }),
  busy: () => new Busy("later"),
  plain: () => new RangeError("far"),
  text: () => "just text",
  nothing: () => undefined,
  pretended: () => new NoSuchMethodError("pretended"),
  large: () => new NotFound("large", { data: { id: "x".repeat(2_000_000) } }),
  quotes: () => new Error('"'.repeat(1_000_000)),
  cyclic: () => {
    const error = new Error("round");
    error.cause = error;
    return error;
  },
};

/** A connection to a worker whose handler throws what it is asked to. */
async function failing(bus: Bus, tracebacks?: boolean) {
  const api = zoo(bus.topic);
  const errors = { "zoo.Busy": Busy };
  const worker = await bus.serve(api, {
    fail: ({ how }) => {
      throw thrown[how]?.();
    },
  }, { errors, tracebacks });
  const connection = await bus.connect({ errors });
  const client = connection.client(api);
  const stack = new AsyncDisposableStack();
  stack.use(worker);
  stack.use(connection);
  const fail = (how: string) => failureOf(client.call("fail", { how }));
  return { fail, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

onEachBus(
  "errors of the contract and of the connection are instances of their class at both ends",
  async (bus) => {
    await using zoo = await failing(bus);
    const listed = await zoo.fail("listed");
    assert.ok(listed instanceof NotFound);
    assert.equal(listed.message, "no x");
    assert.equal(listed.id, "x");
    assert.ok(await zoo.fail("busy") instanceof Busy);
  },
);

onEachBus("whatever else a handler throws is a RemoteError", async (bus) => {
  await using zoo = await failing(bus);
  const types = {
    plain: "RangeError",
    text: "Error",
    nothing: "Error",
    pretended: "NoSuchMethodError",
    cyclic: "Error",
    quotes: "Error",
  };
  for (const [how, type] of Object.entries(types)) {
    const error = await zoo.fail(how);
    assert.ok(error instanceof RemoteError, how);
    assert.equal(error.failure.type, type);
    assert.deepEqual(error.failure.traceback, []);
  }
});

onEachBus(
  "an error larger than a message still arrives, cut short",
  async (bus) => {
    await using zoo = await failing(bus);
    const error = await zoo.fail("large");
    assert.ok(error instanceof NotFound);
    assert.equal(error.message, "large");
    assert.equal(error.id, undefined);
  },
);

onEachBus(
  "stacks travel only where the worker's connection says so",
  async (bus) => {
    await using zoo = await failing(bus, true);
    const error = await zoo.fail("plain");
    assert.ok(error instanceof RemoteError);
    assert.match(error.failure.traceback.join(""), /errors_test\.ts/);
  },
);

onEachBus("the dispatcher's own refusals keep their class", async (bus) => {
  await using _worker = await bus.serve(sums(bus.topic), sumHandlers());
  await using connection = await bus.connect();
  const call = (target: object, method: string, args = {}) =>
    failureOf(connection.call({ topic: bus.topic, ...target }, method, args));
  assert.ok(await call({}, "nothing") instanceof NoSuchMethodError);
  const version = await call({ version: "1.9" }, "add");
  assert.ok(version instanceof UnsupportedVersionError);
  const namespace = await call({ namespace: "other" }, "add");
  assert.ok(namespace instanceof UnsupportedVersionError);
  const args = await call({}, "add", { a: "1" });
  assert.ok(args instanceof InvalidValueError);
  assert.equal(args.data.path, "a");
});

onEachBus(
  "a refusal by another dispatcher that a handler asked is the handler's own error",
  async (bus) => {
    const inner = new RpcDispatcher([
      implement(sums("inner"), sumHandlers()),
    ]);
    await using _worker = await bus.serve(
      sums(bus.topic),
      sumHandlers({
        add: async () =>
          await inner.dispatch(requestContext(), "1.0", "no", {}) as number,
      }),
    );
    await using connection = await bus.connect();
    const error = await failureOf(
      connection.client(sums(bus.topic)).call("add", { a: 1, b: 2 }),
    );
    assert.ok(error instanceof RemoteError, String(error));
  },
);

onEachBus(
  "a message that is no request is told to its sender where it can be",
  async (bus) => {
    await using worker = await bus.serve(sums(bus.topic), sumHandlers());
    await using connection = await bus.connect();
    const target = { topic: bus.topic, version: "1".repeat(33) };
    const error = await failureOf(connection.call(target, "add"));
    assert.ok(error instanceof InvalidValueError);
    assert.match(error.message, /Refused the request: .*version/);
    assert.equal(worker.stats.refused, 1);
  },
);

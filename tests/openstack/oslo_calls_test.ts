/** The real oslo.messaging calls services of Warren. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  implement,
  type RpcErrorOptions,
  Service,
} from "../../mod.ts";
import { until } from "../setup/probe.ts";
import { type CloudBus, onEachCloud } from "./bus.ts";
import { PeerError, type PythonError } from "./oslo.ts";

class InstanceNotFound extends Error {
  override readonly name = "InstanceNotFound";
  readonly data: RpcErrorOptions["data"];
  constructor(message: string, { data }: RpcErrorOptions = {}) {
    super(message);
    this.data = data;
  }
}

const api = (topic: string) =>
  contract({
    topic,
    version: "1.2",
    errors: { "lab_exceptions.InstanceNotFound": InstanceNotFound },
    procedures: {
      echo: { args: z.object({ value: z.unknown() }), result: z.unknown() },
      nothing: {},
      who: { result: z.string(), since: "1.1" },
      context: { result: z.looseObject({}) },
      big: { args: z.object({ n: z.number() }), result: z.string() },
      slow: { args: z.object({ seconds: z.number() }), result: z.string() },
      note: { args: z.object({ tag: z.string() }) },
      fail: { args: z.object({ kind: z.string() }) },
    },
  });

const named = (topic: string) =>
  contract({
    topic,
    version: "2.0",
    namespace: "names",
    procedures: { whose: { result: z.string() } },
  });

/** A service of Warren's on a host; what it heard is in `heard`. */
async function serve(bus: CloudBus, host: string, heard: string[] = []) {
  const manager = implement(api(bus.topic), {
    echo: ({ value }) => value,
    nothing: () => {},
    who: () => host,
    context: (_, { values }) => ({ ...values }),
    big: ({ n }) => "x".repeat(n),
    slow: async ({ seconds }, { signal }) => {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, seconds * 1_000);
        signal.addEventListener(
          "abort",
          () => (clearTimeout(timer), resolve()),
        );
      });
      return "done";
    },
    note: ({ tag }) => void heard.push(`${host}: ${tag}`),
    fail: ({ kind }) => {
      const data = { instance_id: "i-1", code: 404 };
      if (kind === "known") throw new InstanceNotFound("gone é", { data });
      throw new RangeError("out of é");
    },
  });
  return await Service.start({
    url: bus.url,
    profile: bus.profile,
    host,
    signals: false,
    manager: [
      manager,
      implement(named(bus.topic), { whose: () => "of the namespace" }),
    ],
  });
}

/** Asks as oslo's client does. */
function asking(
  peer: { perform(command: { do: string }): Promise<unknown> },
  topic: string,
) {
  return {
    call: (method: string, args: object = {}, more: object = {}) =>
      peer.perform(
        { do: "call", topic, method, args, ...more } as { do: string },
      ),
    cast: (method: string, args: object = {}, more: object = {}) =>
      peer.perform(
        { do: "cast", topic, method, args, ...more } as { do: string },
      ),
  };
}

async function errorOf(promise: Promise<unknown>): Promise<PythonError> {
  const error = await promise.then(
    (value) => new Error(`no error: ${Deno.inspect(value)}`),
    (error) => error,
  );
  if (error instanceof PeerError) return error.error;
  throw error;
}

onEachCloud(
  "its calls are answered, of any value, by any host or one",
  async (bus) => {
    await using _service = await serve(bus, "one");
    const { call } = asking(await bus.oslo(), bus.topic);
    const value = {
      b: 1,
      a: [1, 2.5, null, true, "x"],
      text: 'žluťoučký 日本 😀 \u0001 " \\ /',
    };
    assert.deepEqual(await call("echo", { value }), value);
    assert.equal(await call("echo", { value: null }), null);
    assert.equal(await call("nothing"), null);
    assert.equal(
      await call("who", {}, { server: "one", version: "1.2" }),
      "one",
    );
    assert.equal(String(await call("big", { n: 400_000 })).length, 400_000);
    const large = "y".repeat(400_000);
    assert.equal(await call("echo", { value: large }), large);
    const other = { namespace: "names", version: "2.0" };
    assert.equal(await call("whose", {}, other), "of the namespace");
  },
);

onEachCloud("it pings, and asks Nova's base API", async (bus) => {
  await using _service = await serve(bus, "one");
  const { call } = asking(await bus.oslo(), bus.topic);
  assert.equal(await call("oslo_rpc_server_ping"), "pong");
  const base = { namespace: "baseapi", version: "1.1" };
  assert.deepEqual(await call("ping", { arg: { a: 1 } }, base), {
    service: bus.topic,
    arg: { a: 1 },
  });
});

onEachCloud("its context reaches the handler", async (bus) => {
  await using _service = await serve(bus, "one");
  const { call } = asking(await bus.oslo(), bus.topic);
  const context = { user_id: "u1", roles: ["admin"], auth_token: "t", n: null };
  assert.deepEqual(await call("context", {}, { context }), context);
});

onEachCloud("its casts and fanouts come", async (bus) => {
  const heard: string[] = [];
  await using _one = await serve(bus, "one", heard);
  await using _two = await serve(bus, "two", heard);
  const { cast } = asking(await bus.oslo(), bus.topic);
  await cast("note", { tag: "any" });
  await cast("note", { tag: "two" }, { server: "two" });
  await cast("note", { tag: "all" }, { fanout: true });
  await until("all came", () => heard.length === 4);
  for (const line of ["two: two", "one: all", "two: all"]) {
    assert.ok(heard.includes(line), line);
  }
});

onEachCloud(
  "it makes its own exceptions of what a handler throws",
  async (bus) => {
    await using _service = await serve(bus, "one");
    const { call } = asking(await bus.oslo(), bus.topic);
    const known = await errorOf(call("fail", { kind: "known" }));
    assert.equal(known.type, "InstanceNotFound_Remote");
    assert.equal(known.module, "lab_exceptions_Remote");
    assert.match(known.message, /^gone é\n/);
    assert.deepEqual(known.kwargs, { instance_id: "i-1", code: 404 });
    const other = await errorOf(call("fail", { kind: "other" }));
    assert.deepEqual([other.type, other.exc_type], [
      "RemoteError",
      "RangeError",
    ]);
    assert.match(other.message, /out of é/);
  },
);

onEachCloud("it is told what is not served", async (bus) => {
  await using _service = await serve(bus, "one");
  const { call } = asking(await bus.oslo(), bus.topic);
  const type = async (method: string, args: object, more: object) => {
    const { exc_type, type } = await errorOf(call(method, args, more));
    return exc_type ?? type;
  };
  const echo = { value: 1 };
  assert.equal(await type("no_such_thing", {}, {}), "NoSuchMethod");
  assert.equal(await type("_private", {}, {}), "NoSuchMethod");
  assert.equal(
    await type("echo", echo, { version: "1.9" }),
    "UnsupportedVersion",
  );
  assert.equal(
    await type("echo", echo, { version: "2.1" }),
    "UnsupportedVersion",
  );
  assert.equal(
    await type("echo", echo, { namespace: "x" }),
    "UnsupportedVersion",
  );
  assert.equal(await type("big", { n: "many" }, {}), "ValueError");
});

onEachCloud(
  "its long calls get signs of life, and an unknown method gets none",
  async (bus) => {
    await using _service = await serve(bus, "one");
    const peer = await bus.oslo();
    const { call } = asking(peer, bus.topic);
    const monitored = { timeout: 20, call_monitor_timeout: 2 };
    assert.equal(await call("slow", { seconds: 4.5 }, monitored), "done");
    const unknown = await errorOf(call("no_such_thing", {}, monitored));
    assert.equal(unknown.exc_type, "NoSuchMethod");
  },
);

onEachCloud(
  "it and Warren share a topic: 2000 calls, each answered once",
  async (bus) => {
    const peer = await bus.oslo();
    await peer.perform({ do: "serve", topic: bus.topic, host: "one" });
    await using service = await serve(bus, "two");
    const caller = await bus.connect();
    const other = await bus.oslo();
    const count = 1_000;
    const numbers = Array.from({ length: count }, (_, n) => n);
    const theirs = other.perform({
      do: "repeat",
      topic: bus.topic,
      method: "echo",
      count,
    });
    const ours = Promise.all(
      numbers.map((value) =>
        caller.call({ topic: bus.topic }, "echo", { value })
      ),
    );
    assert.deepEqual(await theirs, numbers);
    assert.deepEqual(await ours, numbers);
    const { handled, repeated } = service.stats;
    assert.ok(handled > 200 && handled < 2 * count, `${handled} by Warren`);
    assert.equal(repeated, 0);
  },
);

/** Warren calls services of the real oslo.messaging. */
import assert from "node:assert/strict";
import {
  type ConnectionContext,
  type ConnectionOptions,
  NoSuchMethodError,
  RemoteError,
  type RpcErrorOptions,
  TimeoutError,
  UnsupportedVersionError,
} from "../../mod.ts";
import { failureOf } from "../rpc/support.ts";
import { until } from "../setup/probe.ts";
import { type CloudBus, onEachCloud } from "./bus.ts";
import type { OsloPeer } from "./oslo.ts";

class InstanceNotFound extends Error {
  readonly data: RpcErrorOptions["data"];
  constructor(message: string, { data, cause }: RpcErrorOptions = {}) {
    super(message, { cause });
    this.data = data;
  }
}

class PythonValueError extends Error {}

const errors = {
  "lab_exceptions.InstanceNotFound": InstanceNotFound,
  "builtins.ValueError": PythonValueError,
};

const dialects: readonly ConnectionOptions[] = [
  {},
  { dialect: "oslo" },
];

/** An oslo service on the host `one`, and a connection of each dialect that it answers. */
async function cloud(bus: CloudBus) {
  const peer = await bus.oslo("rpc_ping_enabled=true");
  await peer.perform({ do: "serve", topic: bus.topic, host: "one" });
  const { topic } = bus;
  const callers: ConnectionContext[] = [];
  for (const dialect of dialects) {
    callers.push(await bus.connect({ errors, ...dialect }));
  }
  return { peer, target: { topic }, callers };
}

const notes = (peer: OsloPeer) =>
  peer.events.filter(({ event }) => event === "note");

onEachCloud("calls, of any value, to any host or one", async (bus) => {
  const { target, callers } = await cloud(bus);
  const value = {
    b: 1,
    a: [1, 2.5, null, true, "x"],
    text: 'žluťoučký 日本 😀 \u0001 " \\ /',
  };
  for (const caller of callers) {
    const call = (method: string, args = {}, more = {}) =>
      caller.call({ ...target, ...more }, method, args);
    assert.deepEqual(await call("echo", { value }), value);
    assert.equal(await call("add", { a: 2, b: 3 }), 5);
    assert.equal(await call("nothing"), null);
    assert.equal(await call("who", {}, { host: "one" }), "one");
    assert.equal(await call("who", {}, { version: "1.2" }), "one");
    const big = await call("big", { n: 400_000 });
    assert.equal(String(big).length, 400_000);
    assert.equal(
      await call("echo", { value: "y".repeat(400_000) }),
      "y".repeat(400_000),
    );
    const named = { namespace: "names", version: "2.0" };
    assert.equal(await call("whose", {}, named), "of the namespace");
    assert.equal(await call("oslo_rpc_server_ping"), "pong");
  }
});

onEachCloud("a call's context reaches the endpoint", async (bus) => {
  const { target, callers } = await cloud(bus);
  const context = {
    user_id: "u1",
    roles: ["admin"],
    is_admin: true,
    auth_token: "t",
    read_deleted: "no",
    nested: { a: [1] },
  };
  for (const caller of callers) {
    const seen = await caller.call(target, "context", {}, { context });
    const { client_timeout: _, ...rest } = seen as Record<string, unknown>;
    assert.deepEqual(rest, context);
  }
});

onEachCloud("casts and fanouts", async (bus) => {
  const { peer, target, callers } = await cloud(bus);
  await peer.perform({ do: "serve", topic: bus.topic, host: "two" });
  for (const [n, caller] of callers.entries()) {
    await caller.cast(target, "note", { tag: `any ${n}` });
    await caller.cast({ ...target, host: "two" }, "note", { tag: `two ${n}` });
    await caller.fanoutCast(target, "note", { tag: `all ${n}` });
  }
  await until("all came", () => notes(peer).length === 4 * callers.length);
  const heard = notes(peer).map(({ host, tag }) => `${host}: ${tag}`).sort();
  for (const n of callers.keys()) {
    assert.ok(heard.includes(`two: two ${n}`));
    assert.ok(heard.includes(`one: all ${n}`));
    assert.ok(heard.includes(`two: all ${n}`));
  }
});

onEachCloud("errors keep their class where they are listed", async (bus) => {
  const { target, callers } = await cloud(bus);
  for (const caller of callers) {
    const fail = (args: object, method = "fail") =>
      failureOf(caller.call(target, method, { ...args }));
    const listed = await fail({ kind: "InstanceNotFound", message: "é gone" });
    assert.ok(listed instanceof InstanceNotFound, String(listed));
    assert.equal(listed.message, "é gone");
    assert.deepEqual(listed.data, { instance_id: "i-1", code: 404 });
    const builtin = await fail({ message: "bad é" }, "fail_expected");
    assert.ok(builtin instanceof PythonValueError, String(builtin));
    assert.equal(builtin.message, "bad é");
    const other = await fail({ kind: "KeyError", message: "k" });
    assert.ok(other instanceof RemoteError);
    const { type, module, message, traceback } = other.failure;
    assert.deepEqual([type, module, message], ["KeyError", "builtins", "'k'"]);
    assert.match(traceback.join(""), /Traceback.*oslo_peer\.py.*KeyError/s);
    const missing = await fail({ a: 1 }, "add");
    assert.ok(missing instanceof RemoteError);
    assert.equal(missing.failure.type, "TypeError");
  }
});

onEachCloud("what an endpoint does not serve", async (bus) => {
  const { target, callers } = await cloud(bus);
  for (const caller of callers) {
    const refused = (more: object, method = "echo") =>
      failureOf(caller.call({ ...target, ...more }, method, { value: 1 }));
    const unknown = await refused({}, "no_such_thing");
    assert.ok(unknown instanceof NoSuchMethodError, String(unknown));
    for (
      const more of [{ version: "1.9" }, { version: "2.0" }, { namespace: "x" }]
    ) {
      const wrong = await refused(more);
      assert.ok(wrong instanceof UnsupportedVersionError, String(wrong));
    }
  }
});

onEachCloud("a long call is monitored", async (bus) => {
  const { target, callers } = await cloud(bus);
  await Promise.all(callers.map(async (caller) => {
    const options = { timeout: 20_000, monitor: 2_000 };
    const slow = (seconds: number, more = {}) =>
      caller.call(target, "slow", { seconds }, { ...options, ...more });
    assert.equal(await slow(3.5), "done");
    const late = await failureOf(slow(3, { timeout: 1_500 }));
    assert.ok(late instanceof TimeoutError);
    assert.match(late.message, /within 1500 ms/);
  }));
});

onEachCloud(
  "a monitored call fails as soon as its worker is dead",
  async (bus) => {
    const { peer, target, callers: [caller] } = await cloud(bus);
    const options = { timeout: 30_000, monitor: 2_000 };
    const slow = failureOf(
      caller!.call(target, "slow", { seconds: 25 }, options),
    );
    await caller!.call(target, "who"); // the slow one has been taken
    const began = performance.now();
    await peer[Symbol.asyncDispose]();
    const error = await slow;
    assert.ok(error instanceof TimeoutError, String(error));
    assert.match(error.message, /No sign of life of slow/);
    assert.ok(performance.now() - began < 5_000);
  },
);

/** Versions and namespaces, as a typed client sends them. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  implement,
  InvalidValueError,
  RpcDispatcher,
  UnsupportedVersionError,
} from "../../mod.ts";
import { type Bus, failureOf, onEachBus } from "../rpc/support.ts";

const result = z.string();
const at11 = (topic: string) =>
  contract({
    topic,
    version: "1.1",
    procedures: { list: { result }, reboot: { since: "1.1", result } },
  });
const at12 = (topic: string) =>
  contract({
    ...at11(topic),
    version: "1.2",
    procedures: {
      ...at11(topic).procedures,
      resize: { since: "1.2", result },
    },
  });
const handlers = { list: () => "list", reboot: () => "reboot" };

onEachBus(
  "a client of 1.2 works with a worker of 1.1, but for what came in 1.2",
  async (bus) => {
    await using _worker = await bus.serve(at11(bus.topic), handlers);
    await using connection = await bus.connect();
    const client = connection.client(at12(bus.topic));
    assert.equal(await client.call("list"), "list");
    assert.equal(await client.call("reboot"), "reboot");
    const error = await failureOf(client.call("resize"));
    assert.ok(error instanceof UnsupportedVersionError);
  },
);

onEachBus(
  "a client of 1.0 procedures works with a worker of 1.1",
  async (bus) => {
    await using _worker = await bus.serve(at11(bus.topic), handlers);
    await using connection = await bus.connect();
    const old = contract({
      topic: bus.topic,
      version: "1.0",
      procedures: { list: { result } },
    });
    assert.equal(await connection.client(old).call("list"), "list");
  },
);

onEachBus(
  "versionCap refuses what is newer before anything is sent",
  async (bus) => {
    await using worker = await bus.serve(at12(bus.topic), {
      ...handlers,
      resize: () => "resize",
    });
    await using connection = await bus.connect();
    const capped = connection.client(at12(bus.topic), { versionCap: "1.1" });
    assert.equal(await capped.call("reboot"), "reboot");
    for (const verb of ["call", "cast", "fanoutCast"] as const) {
      const error = await failureOf(capped[verb]("resize"));
      assert.ok(error instanceof UnsupportedVersionError);
      assert.match(error.message, /versionCap is 1\.1/);
    }
    assert.equal(worker.stats.failed, 0);
    const other = connection.client(at12(bus.topic), { versionCap: "2.0" });
    assert.ok(
      await failureOf(other.call("list")) instanceof UnsupportedVersionError,
    );
    assert.throws(
      () => connection.client(at12(bus.topic), { versionCap: "new" }),
      InvalidValueError,
    );
  },
);

/** Three contracts of one topic, behind one consumer. */
async function together(bus: Bus) {
  const old = at11(bus.topic);
  const next = contract({
    topic: bus.topic,
    version: "2.0",
    procedures: { list: { result } },
  });
  const base = contract({
    topic: bus.topic,
    version: "1.0",
    namespace: "base",
    procedures: { list: { result } },
  });
  const worker = await bus.connect();
  const dispatcher = new RpcDispatcher([
    implement(old, handlers),
    implement(next, { list: () => "list 2.0" }),
    implement(base, { list: () => "list base" }),
  ]);
  await worker.createConsumer(bus.topic, dispatcher);
  await worker.consume();
  return { worker, old, next, base };
}

onEachBus(
  "several contracts share a topic, told apart by major version and namespace",
  async (bus) => {
    const { worker, old, next, base } = await together(bus);
    await using _worker = worker;
    await using connection = await bus.connect();
    assert.equal(await connection.client(old).call("list"), "list");
    assert.equal(await connection.client(next).call("list"), "list 2.0");
    assert.equal(await connection.client(base).call("list"), "list base");
  },
);

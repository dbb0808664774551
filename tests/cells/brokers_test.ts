/** Cells on two RabbitMQ nodes: one is killed, frozen and started again while the other works on. */
import assert from "node:assert/strict";
import {
  type CellsConnection,
  ConnectionFailedError,
  createConnection,
} from "../../mod.ts";
import {
  type PrivateBroker,
  privateBroker,
  rabbitmqServer,
} from "../setup/broker.ts";
import { until } from "../setup/probe.ts";
import { byHost, compute, work } from "./support.ts";

let a: PrivateBroker;
let b: PrivateBroker;

Deno.test.beforeAll(async () => {
  if (!rabbitmqServer) return;
  [a, b] = await Promise.all([privateBroker(), privateBroker()]);
});
Deno.test.afterAll(async () => {
  await Promise.all([a, b].map((node) => node?.[Symbol.asyncDispose]()));
});

/** A test on both nodes, which are up at its start. */
function onNodes(name: string, fn: () => Promise<void>): void {
  const ignore = rabbitmqServer === undefined;
  Deno.test({ name: `${name} (needs rabbitmq-server)`, ignore, fn });
}

/** The cells of both nodes. A dead connection is noticed within three heartbeats of a second. */
const cells = () => ({
  a: { url: a.url, heartbeat: 1 },
  b: { url: b.url, heartbeat: 1 },
});

/** Resolves at the next event of a cell. */
function next(
  connection: CellsConnection,
  cell: string,
  event: "connected" | "disconnected",
): Promise<void> {
  return new Promise((resolve) =>
    connection.cell(cell).addEventListener(event, () => resolve(), {
      once: true,
    })
  );
}

onNodes(
  "a cell that is killed is reported at once, delays nobody, and is well again when it is back",
  async () => {
    await using one = await work(cells(), "a", "a-1");
    await using two = await work(cells(), "b", "b-1");
    await using connection = await createConnection(
      { cells: cells(), route: byHost, waitFor: ["a", "b"] },
    );
    const client = connection.client(compute);
    const all = async () => {
      const services = connection.services({ timeout: 500 });
      const hosts = (await Array.fromAsync(services)).map(({ host }) => host);
      return { hosts: hosts.toSorted(), failed: services.failed };
    };
    assert.deepEqual(await all(), { hosts: ["a-1", "b-1"], failed: {} });

    const lost = next(connection, "b", "disconnected");
    await b.kill();
    await lost;
    const services = connection.services({ timeout: 500 });
    assert.equal((await services.next()).value?.host, "a-1");
    assert.match(String(services.failed.b), /Cell b is not connected/);
    await Array.fromAsync(services);
    assert.equal(await client.call("where", {}, { host: "a-1" }), "a-1");
    const noted = one.noted();
    const startedAt = performance.now();
    const report = await client.fanoutCast("note", { text: "down" });
    assert.equal(await noted, "down");
    assert.deepEqual(report.reached, ["a"]);
    assert.match(String(report.failed.b), /Cell b is not connected/);
    const tookMs = performance.now() - startedAt;
    assert.ok(tookMs < 500, `the fanout waited ${tookMs} ms`);
    await assert.rejects(
      client.call("where", {}, { host: "b-1", timeout: 300 }),
      (error) =>
        error instanceof ConnectionFailedError && !error.inDoubt &&
        /^Cell b: /.test(error.message),
    );
    assert.equal(connection.health().b?.publishing.state, "recovering");
    assert.equal(connection.health().a?.publishing.state, "up");

    const waiting = client.call("where", {}, { host: "b-1" });
    await b.start();
    assert.equal(await waiting, "b-1", "a request that waits is sent");
    await until("the worker is back", async () => {
      const { hosts, failed } = await all();
      return hosts.length === 2 && Object.keys(failed).length === 0;
    }, 30_000);
    const again = [one.noted(), two.noted()];
    const { failed, reached } = await client.fanoutCast("note", { text: "up" });
    assert.deepEqual([reached.length, failed], [2, {}]);
    await Promise.all(again);
  },
);

onNodes("a cell that is down at the start joins when it is there", async () => {
  await b.kill();
  await using _one = await work(cells(), "a", "a-1");
  await using connection = await createConnection({
    cells: cells(),
    route: byHost,
  });
  const client = connection.client(compute);
  assert.equal(await client.call("where", {}, { host: "a-1" }), "a-1");
  const watched = connection.services({ watch: true, timeout: 500 });
  assert.equal((await watched.next()).value?.cell, "a");
  await until("the dead cell is named", () => watched.failed.b, 5_000);
  const later = watched.next();
  await b.start();
  await using _two = await work(cells(), "b", "b-1");
  const { value } = await later;
  assert.deepEqual([value?.host, value?.cell], ["b-1", "b"]);
  await until("the cell is no longer named", () => !watched.failed.b, 10_000);
  assert.equal(await client.call("where", {}, { host: "b-1" }), "b-1");
  await watched.return();
});

onNodes(
  "a frozen cell is named after the timeout, and a fanout ends when its loss is noticed",
  async () => {
    await using _one = await work(cells(), "a", "a-1");
    await using connection = await createConnection({
      cells: cells(),
      route: byHost,
      waitFor: ["a", "b"],
    });
    const client = connection.client(compute);
    const first = connection.services({ timeout: 300 });
    await Array.fromAsync(first); // both inboxes are read now
    assert.deepEqual(first.failed, {}, "a cell without services has answered");
    b.freeze();
    try {
      const services = connection.services({ timeout: 300 });
      const found = await Array.fromAsync(services);
      assert.deepEqual(found.map(({ host }) => host), ["a-1"]);
      assert.deepEqual(Object.keys(services.failed), ["b"]);
      const { reached, failed } = await client.fanoutCast("note", {
        text: "x",
      });
      assert.deepEqual(reached, ["a"]);
      assert.ok(failed.b instanceof ConnectionFailedError && failed.b.inDoubt);
      assert.match(failed.b.message, /^Cell b was lost: /);
      assert.equal(await client.call("where", {}, { host: "a-1" }), "a-1");
    } finally {
      b.thaw();
    }
    await until("the cell is back", async () => {
      const services = connection.services({ timeout: 300 });
      await Array.fromAsync(services);
      return Object.keys(services.failed).length === 0;
    }, 30_000);
  },
);

onNodes(
  "a cell whose login is refused delays nobody, and fails its requests at once",
  async () => {
    const nobody = new URL(b.url);
    nobody.password = "wrong";
    const both = { a: a.url, b: nobody };
    await using _one = await work(cells(), "a", "a-1");
    await using connection = await createConnection({
      cells: both,
      route: byHost,
    });
    const client = connection.client(compute);
    assert.equal(await client.call("where", {}, { host: "a-1" }), "a-1");
    await assert.rejects(
      client.call("where", {}, { host: "b-1" }),
      (error) => {
        assert.ok(error instanceof ConnectionFailedError);
        assert.match(error.message, /^Cell b: .*ACCESS_REFUSED/);
        return true;
      },
    );
    const services = connection.services({ timeout: 300 });
    await Array.fromAsync(services);
    assert.match(String(services.failed.b), /ACCESS_REFUSED/);
    assert.equal(connection.health().b?.publishing.state, "failed");
  },
);

/** Two worker processes and a caller on RabbitMQ, and what happens to them when one of the three dies. */
import assert from "node:assert/strict";
import {
  type ConnectionContext,
  createConnection,
  StreamInterruptedError,
} from "../../mod.ts";
import { privateBroker, rabbitmqServer } from "../setup/broker.ts";
import { until } from "../setup/probe.ts";
import { fleet } from "./contract.ts";
import { startWorker } from "./process.ts";

const ignore = rabbitmqServer === undefined;
const needs = "(needs rabbitmq-server)";

/** What both hosts have heard. */
async function heardBy(
  connection: ConnectionContext,
  host: string,
): Promise<string[]> {
  return await connection.client(fleet).call("heard", {}, { host });
}

/** Calls until one is answered: while the broker is away, a call fails at its deadline. */
async function answered(
  connection: ConnectionContext,
  host?: string,
): Promise<string | undefined> {
  const client = connection.client(fleet, { timeout: 1_000, host });
  return await until(`an answer of ${host ?? "any host"}`, async () => {
    return await client.call("who").catch(() => undefined);
  }, 30_000);
}

Deno.test({
  name: `Fleet: calls spread, a host alone, a fanout to all ${needs}`,
  ignore,
  async fn() {
    await using broker = await privateBroker();
    await using _a = await startWorker("a", broker.url);
    await using _b = await startWorker("b", broker.url);
    await using connection = await createConnection(broker.url);
    const client = connection.client(fleet);

    const answers = await Promise.all(
      Array.from({ length: 1000 }, () => client.call("who")),
    );
    const byHost = Map.groupBy(answers, (host) => host);
    assert.deepEqual([...byHost.keys()].sort(), ["a", "b"]);
    for (const [host, given] of byHost) {
      assert.ok(given.length > 100, `${host} answered ${given.length} of 1000`);
    }

    const alone = Array.from({ length: 50 }, (_, n) => `to b ${n}`);
    await Promise.all(
      alone.map((id) => client.cast("tell", { id }, { host: "b" })),
    );
    await client.fanoutCast("tell", { id: "to all" });
    await until("the fanout", async () => {
      const [a, b] = await Promise.all([
        heardBy(connection, "a"),
        heardBy(connection, "b"),
      ]);
      return a.includes("to all") && b.length === 51;
    });
    assert.deepEqual(await heardBy(connection, "a"), ["to all"]);
    assert.deepEqual(
      (await heardBy(connection, "b")).sort(),
      [...alone, "to all"].sort(),
    );
  },
});

Deno.test({
  name: `Fleet: kill -9 of a worker in its handlers loses no call ${needs}`,
  ignore,
  async fn() {
    await using broker = await privateBroker();
    await using a = await startWorker("a", broker.url);
    await using b = await startWorker("b", broker.url);
    await using connection = await createConnection(broker.url);
    const client = connection.client(fleet);

    const calls = Array.from(
      { length: 40 },
      (_, n) =>
        client.call("work", { id: String(n), ms: 400 }, { timeout: 20_000 }),
    );
    await Promise.all([a.printed("started"), b.printed("started")]);
    const interrupted = a.count("started");
    a.kill("SIGKILL");
    const answers = await Promise.all(calls);
    assert.ok(interrupted > 0);
    assert.deepEqual([...new Set(answers)], ["b"]);
    assert.equal(answers.length, 40);
  },
});

Deno.test({
  name: `Fleet: kill -9 of a worker that streams is told ${needs}`,
  ignore,
  async fn() {
    await using broker = await privateBroker();
    await using a = await startWorker("a", broker.url);
    await using connection = await createConnection(broker.url);
    const stream = connection.client(fleet).multicall("tail");
    const items: string[] = [];
    while (items.length < 5) items.push((await stream.next()).value ?? "");
    await using _b = await startWorker("b", broker.url);
    a.kill("SIGKILL");
    await assert.rejects(async () => {
      for await (const item of stream) items.push(item);
    }, StreamInterruptedError);
    assert.deepEqual(items, items.map((_, at) => `a ${at + 1}`));
  },
});

Deno.test({
  name: `Fleet: kill -9 of the leader, and another leads ${needs}`,
  ignore,
  async fn() {
    await using broker = await privateBroker();
    await using a = await startWorker("a", broker.url, ["--leader"]);
    await a.printed("sweep");
    await using b = await startWorker("b", broker.url, ["--leader"]);
    const sweeps = a.count("sweep");
    await until("more sweeps", () => a.count("sweep") > sweeps + 20);
    assert.equal(b.count("sweep"), 0);
    a.kill("SIGKILL");
    await until("a successor", () => b.count("sweep") > 0, 20_000);
    await a.exit();
    const [last, first] = [a.numbers("sweep").at(-1), b.numbers("sweep")[0]];
    assert.ok(Number(last) < Number(first));
  },
});

Deno.test({
  name:
    `Fleet: a restart of the broker heals without restarting a process ${needs}`,
  ignore,
  async fn() {
    await using broker = await privateBroker();
    await using a = await startWorker("a", broker.url);
    await using b = await startWorker("b", broker.url);
    await using connection = await createConnection(broker.url);
    const client = connection.client(fleet);
    await client.cast("tell", { id: "before" }, { host: "a" });
    await until(
      "the cast",
      async () => (await heardBy(connection, "a")).length,
    );

    await broker.stop();
    // Cast while the broker is away: it waits for the broker, inside its deadline.
    const meanwhile = client.cast("tell", { id: "meanwhile" }, { host: "b" });
    await broker.start();
    await meanwhile;

    assert.equal(await answered(connection, "a"), "a");
    assert.equal(await answered(connection, "b"), "b");
    assert.match(`${await answered(connection)}`, /^[ab]$/);
    await until("the cast of the outage", async () => {
      return (await heardBy(connection, "b")).includes("meanwhile");
    });
    await client.fanoutCast("tell", { id: "after" });
    await until("the fanout", async () => {
      const heard = await Promise.all([
        heardBy(connection, "a"),
        heardBy(connection, "b"),
      ]);
      return heard.every((ids) => ids.includes("after"));
    });
    assert.deepEqual(await heardBy(connection, "a"), ["before", "after"]);

    for (const worker of [a, b]) {
      worker.kill("SIGTERM");
      assert.equal(await worker.exit(), 0);
      assert.equal(worker.count("stopped"), 1);
    }
  },
});

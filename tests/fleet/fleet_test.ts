/** Two worker processes and a caller on RabbitMQ, and what happens to them when one of the three dies. */
import assert from "node:assert/strict";
import {
  type ConnectionContext,
  createConnection,
  InterruptedError,
} from "../../mod.ts";
import { node, onNode } from "../transport/node.ts";
import { removeNames } from "../transport/support.ts";
import { until } from "../setup/probe.ts";
import { fleet } from "./contract.ts";
import { startWorker } from "./process.ts";

/** A test on a node on which nothing is left of those before. */
function onFleet(name: string, test: () => Promise<void>): void {
  onNode(`Fleet: ${name}`, async () => {
    const { topic } = fleet;
    const queues = [topic, `${topic}.a`, `${topic}.b`];
    const all = queues.flatMap((queue) => [queue, `${queue}.quarantine`]);
    await removeNames(node.url, all);
    await test();
  });
}

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

onFleet("calls spread, a host alone, a fanout to all", async () => {
  await using _a = await startWorker("a", node.url);
  await using _b = await startWorker("b", node.url);
  await using connection = await createConnection(node.url);
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
});

onFleet("kill -9 of a worker in its handlers loses no call", async () => {
  await using a = await startWorker("a", node.url);
  await using b = await startWorker("b", node.url);
  await using connection = await createConnection(node.url);
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
});

onFleet("kill -9 of a worker that streams is told", async () => {
  await using a = await startWorker("a", node.url);
  await using connection = await createConnection(node.url);
  const stream = connection.client(fleet).multicall("tail");
  const items: string[] = [];
  while (items.length < 5) items.push((await stream.next()).value ?? "");
  await using _b = await startWorker("b", node.url);
  a.kill("SIGKILL");
  await assert.rejects(async () => {
    for await (const item of stream) items.push(item);
  }, InterruptedError);
  assert.deepEqual(items, items.map((_, at) => `a ${at + 1}`));
});

onFleet("kill -9 of the leader, and another leads", async () => {
  await using a = await startWorker("a", node.url, ["--leader"]);
  await a.printed("sweep");
  await using b = await startWorker("b", node.url, ["--leader"]);
  const sweeps = a.count("sweep");
  await until("more sweeps", () => a.count("sweep") > sweeps + 20);
  assert.equal(b.count("sweep"), 0);
  a.kill("SIGKILL");
  await until("a successor", () => b.count("sweep") > 0, 20_000);
  await a.exit();
  const [last, first] = [a.numbers("sweep").at(-1), b.numbers("sweep")[0]];
  assert.ok(Number(last) < Number(first));
});

onFleet(
  "a restart of the broker heals without restarting a process",
  async () => {
    await using a = await startWorker("a", node.url);
    await using b = await startWorker("b", node.url);
    await using connection = await createConnection(node.url);
    const client = connection.client(fleet);
    await client.cast("tell", { id: "before" }, { host: "a" });
    await until(
      "the cast",
      async () => (await heardBy(connection, "a")).length,
    );

    await node.stop();
    // Cast while the broker is away: it waits for the broker, inside its deadline.
    const meanwhile = client.cast("tell", { id: "meanwhile" }, { host: "b" });
    await node.start();
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
);

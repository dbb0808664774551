/** The clusters of the tests: they form, tell where a queue is, and take a node back. */
import assert from "node:assert/strict";
import { connect } from "../../src/amqp/mod.ts";
import { type PrivateBroker, rabbitmqServer } from "./broker.ts";
import { type PrivateCluster, privateCluster } from "./cluster.ts";
import { partitionsMissing } from "./partition.ts";
import { until } from "./probe.ts";

let cluster: PrivateCluster;
Deno.test.beforeAll(async () => {
  if (rabbitmqServer) cluster = await privateCluster({ tickTime: 4 });
});
Deno.test.afterAll(() => cluster?.[Symbol.asyncDispose]());

Deno.test({
  name:
    "a cluster of private nodes forms, and takes a node back that was killed (needs rabbitmq-server)",
  ignore: rabbitmqServer === undefined,
}, async () => {
  assert.equal(new Set(cluster.urls).size, 3);
  const [first] = cluster.nodes;
  assert.ok(first);
  {
    await using connection = await connect(first.url);
    const channel = await connection.openChannel();
    const quorum = { "x-queue-type": "quorum" };
    const args = { durable: true, arguments: quorum };
    await channel.request("queue.declare", { queue: "jobs", ...args });
  }
  const leader = await cluster.leaderOf("jobs");
  await leader.kill();
  assert.notEqual(cluster.running, leader);
  await cluster.whole();
  await leader.start();
  await cluster.whole();
  assert.ok(await cluster.leaderOf("jobs"));
  const other = cluster.nodes.find((node) => node !== leader);
  other?.freeze();
  assert.notEqual(cluster.running, other);
  other?.thaw();
});

const missing = await partitionsMissing();

Deno.test({
  name: `a node that is isolated loses sight of the others${
    missing ? ` (not run: ${missing})` : ""
  }`,
  ignore: rabbitmqServer === undefined || missing !== undefined,
}, async () => {
  await cluster.whole();
  const [alone, other] = cluster.nodes;
  assert.ok(alone && other);
  const seen = async (node: PrivateBroker) => {
    const nodes = await node.ctl("eval", "length(nodes()).");
    return Number(nodes.trim());
  };
  assert.equal(await seen(other), 2);
  {
    await using _partition = await cluster.isolate(alone);
    await until("it is alone", async () => await seen(alone) === 0, 20_000);
    await until("the others are two", async () => await seen(other) === 1);
  }
});

/** Rows of a cluster of three nodes: nodes die, freeze, restart, or are gone for good. */
import { partitionsMissing } from "../setup/partition.ts";
import { until } from "../setup/probe.ts";
import type { PrivateBroker } from "../setup/broker.ts";
import { type Bench, CALLER } from "./bench.ts";
import type { Line } from "./history.ts";
import type { Result } from "./result.ts";
import { goesOn, onlyCodes, recovers, type Row } from "./row.ts";

const HEARTBEAT = 5;
/** Milliseconds for which a dead node stays away. */
const AWAY = 8_000;

/** Milliseconds in which a worker has moved a cast that failed, which is less than a node takes to note a new queue. */
const COPIED = 300;

/** No cast fails. */
const noCastFails = (result: Result) => onlyCodes(result, ["cast"], []);

/**
 * No call fails, except that one which is not idempotent is in doubt if its request was under way when the caller lost its
 * connection: it is not sent again, since it might run twice.
 */
function callsAreInDoubtAtMost({ history }: Result): readonly string[] {
  const failed = history.filter((line) =>
    line.t === "out" && line.verb === "call" && line.code !== undefined &&
    (line.idempotent === true || line.inDoubt !== true)
  );
  return failed.length > 0 ? [`${failed.length} calls failed`] : [];
}

/** Kills nodes, and starts them again after so many milliseconds; resolves when they belong to the cluster again. */
async function killFor(
  bench: Bench,
  nodes: readonly PrivateBroker[],
  ms: number,
): Promise<void> {
  await Promise.all(nodes.map((node) => node.kill()));
  bench.note(`killed ${nodes.map(({ name }) => name)}`);
  await bench.pause(ms);
  await Promise.all(nodes.map((node) => node.start()));
  await bench.cluster.whole();
}

/** The node to which the caller is connected for publishing. */
async function nodeOfCaller(
  { cluster }: Bench,
): Promise<PrivateBroker> {
  const columns = ["pid", "client_properties"];
  const list = () => cluster.running.ctl("list_connections", "-q", ...columns);
  let found: PrivateBroker | undefined;
  await until("the caller is connected", async () => {
    const line = (await list()).split("\n").find((line) =>
      line.includes(`${CALLER} publishing`)
    );
    found = cluster.nodes.find(({ name }) => line?.includes(`<${name}`));
    return found !== undefined;
  });
  return found ?? cluster.running;
}

/** K1: the node that leads the queue is killed, wherever the clients are. */
const leaderKilled: Row = {
  id: "K1",
  replicated: true,
  title: "the leader's node killed, clients anywhere",
  seconds: 60,
  fault: async (bench, seconds) =>
    await bench.repeat(seconds, async () => {
      await killFor(bench, [await bench.cluster.leaderOf(bench.topic)], AWAY);
      await bench.pause(4_000);
    }),
  judge: (result) => [...noCastFails(result), ...goesOn(result, 3_000)],
};

/** K2: the node of the caller is killed. */
const callersNodeKilled: Row = {
  id: "K2",
  replicated: true,
  title: "the caller's node killed",
  seconds: 40,
  fault: async (bench, seconds) =>
    await bench.repeat(seconds, async () => {
      await killFor(bench, [await nodeOfCaller(bench)], AWAY);
      await bench.pause(4_000);
    }),
  judge: (result) => [...noCastFails(result), ...goesOn(result, 3_000)],
};

const frozen = (
  id: string,
  title: string,
  victim: (bench: Bench) => Promise<PrivateBroker>,
): Row => ({
  id,
  title,
  replicated: true,
  options: { heartbeat: HEARTBEAT },
  seconds: 45,
  fault: async (bench, seconds) => {
    const node = await victim(bench);
    node.freeze();
    try {
      await bench.pause(seconds * 1_000);
    } finally {
      node.thaw();
    }
    bench.healed();
    await bench.cluster.whole();
  },
  judge: (result) => [
    ...noCastFails(result),
    ...goesOn(result, 2_000 * HEARTBEAT + 3_000),
  ],
});

/** K3, K4: a node is frozen. */
const leaderFrozen = frozen(
  "K3",
  "the leader's node frozen for 45 s",
  ({ cluster, topic }) => cluster.leaderOf(topic),
);
const callersNodeFrozen = frozen(
  "K4",
  "the caller's node frozen for 45 s",
  nodeOfCaller,
);

/** K5: the network between the leader's node and the others is broken. */
const leaderIsolated: Row = {
  id: "K5",
  replicated: true,
  title: "the leader's node cut off from the others, net_ticktime 8",
  tickTime: 8,
  spoils: true,
  seconds: 45,
  cannot: partitionsMissing,
  fault: async (bench, seconds) => {
    const node = await bench.cluster.leaderOf(bench.topic);
    {
      await using _partition = await bench.cluster.isolate(node);
      bench.note(`cut off ${node.name}`);
      await bench.pause(seconds * 1_000);
    }
    bench.healed();
  },
  judge: (result) => [...noCastFails(result), ...goesOn(result, 10_000)],
};

/** K6: two of three are killed, and are back after 15 s. */
const twoKilled: Row = {
  id: "K6",
  title: "two of three killed, back after 15 s",
  fault: async (bench) => {
    const [first, second] = bench.cluster.nodes.toSorted(() =>
      bench.random() - 0.5
    );
    if (!first || !second) throw new Error("The cluster is too small");
    await killFor(bench, [first, second], 15_000);
    bench.healed();
  },
  judge: (result) => recovers(result, 3_000),
};

/** K7: all nodes are killed. */
const allKilled: Row = {
  id: "K7",
  title: "all three killed",
  fault: async (bench) => {
    await killFor(bench, bench.cluster.nodes, 0);
    bench.healed();
  },
  judge: (result) => recovers(result, 3_000),
};

/** K9: all nodes are killed while a service is new, and the queue in which its casts wait for a retry still newer. */
const newbornQueues: Row = {
  id: "K9",
  title: "all three killed, queues newborn",
  fault: async (bench) => {
    const topic = `${bench.topic}-new`;
    await bench.startWorker(undefined, topic);
    const flaky = bench.burst("flaky", 20, { ms: 5 }, { topic }, "flaky");
    const held = bench.burst("held", 100, { ms: 500 }, { topic });
    const told = (kind: Line["t"], name: string) =>
      bench.history.filter((line) =>
        line.t === kind && "id" in line && line.id.startsWith(`${name}-`)
      ).length;
    const isSent = () => told("out", flaky) + told("out", held) === 120;
    const hasFailed = () => told("start", flaky) >= 20;
    const moved = () => isSent() && hasFailed();
    await until("all casts are sent, and 20 have failed", moved, 20_000, 10);
    await bench.pause(COPIED);
    await killFor(bench, bench.cluster.nodes, 0);
    bench.healed();
  },
  judge: (result) => recovers(result, 3_000),
};

/** K24: the nodes are restarted one after the other, as for an upgrade. */
const rollingRestart: Row = {
  id: "K24",
  replicated: true,
  title: "rolling restart",
  fault: async (bench) => {
    for (const node of bench.cluster.nodes) {
      await node.stop();
      bench.note(`stopped ${node.name}`);
      await node.start();
      await bench.cluster.whole();
      await bench.pause(5_000);
    }
  },
  judge: (result) => [
    ...noCastFails(result),
    ...callsAreInDoubtAtMost(result),
  ],
};

/** K25: the node that leads the queue is gone for good, and forgotten by the others. */
const nodeForgotten: Row = {
  id: "K25",
  replicated: true,
  title: "the leader's node gone for good",
  spoils: true,
  seconds: 40,
  fault: async (bench, seconds) => {
    const node = await bench.cluster.leaderOf(bench.topic);
    await node.kill();
    await bench.pause(5_000);
    await bench.cluster.running.ctl("forget_cluster_node", node.name);
    bench.note(`forgot ${node.name}`);
    await bench.pause(seconds * 1_000);
  },
  judge: (result) => [...noCastFails(result), ...goesOn(result, 10_000)],
};

/** Rows of clusters. */
export const clusterRows: readonly Row[] = [
  leaderKilled,
  callersNodeKilled,
  leaderFrozen,
  callersNodeFrozen,
  leaderIsolated,
  twoKilled,
  allKilled,
  newbornQueues,
  rollingRestart,
  nodeForgotten,
];

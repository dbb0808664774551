/**
 * Clusters for tests: private RabbitMQ nodes that form a cluster when they start. A node of them can be killed, frozen and
 * started again like any private node. All of them are gone with their folders after disposal.
 */
import { type PrivateBroker, privateBroker } from "./broker.ts";
import type { ClusterPlace } from "./rabbitmq/environment.ts";
import { partition } from "./partition.ts";
import { freePort, until } from "./probe.ts";

/** How a cluster is made. */
export interface ClusterOptions {
  /** Number of nodes; default 3. */
  readonly size?: number;
  /** See `ClusterPlace`. */
  readonly tickTime?: number | undefined;
  /** Lines for the rabbitmq.conf of each node. */
  readonly config?: string | undefined;
}

const randomByte = () => 1 + Math.floor(Math.random() * 254);

/** Starts a cluster of nodes; resolves when all of them answer AMQP and know each other. */
export async function privateCluster(
  { size = 3, tickTime, config }: ClusterOptions = {},
): Promise<PrivateCluster> {
  const nodes = Array.from({ length: size }, (_, n) => `n${n + 1}`);
  const subnet = `127.${randomByte()}.${randomByte()}`;
  const shared: Omit<ClusterPlace, "node" | "source"> = {
    nodes,
    tickTime,
    mapperPort: freePort(),
    cookie: crypto.randomUUID(),
  };
  await using stack = new AsyncDisposableStack();
  const started = await Promise.allSettled(nodes.map(async (node, n) => {
    const place = { ...shared, node, source: `${subnet}.${n + 1}` };
    const broker = await privateBroker({ config, place });
    return stack.use(broker);
  }));
  const brokers = started.map((each) => {
    if (each.status === "fulfilled") return each.value;
    throw each.reason;
  });
  const cluster = new PrivateCluster(brokers, stack.move());
  await cluster.whole().catch(async (error) => {
    await cluster[Symbol.asyncDispose]();
    throw error;
  });
  return cluster;
}

/** Nodes that form a cluster. Made by {@linkcode privateCluster}. */
export class PrivateCluster implements AsyncDisposable {
  /** All nodes, also those that are down. */
  readonly nodes: readonly PrivateBroker[];
  readonly #stack: AsyncDisposableStack;

  /** @private Use {@linkcode privateCluster}. */
  constructor(nodes: readonly PrivateBroker[], stack: AsyncDisposableStack) {
    this.nodes = nodes;
    this.#stack = stack;
  }

  /** The AMQP URLs of all nodes. */
  get urls(): string[] {
    return this.nodes.map(({ url }) => url);
  }

  /** A node that is up. */
  get running(): PrivateBroker {
    const node = this.nodes.find(({ isUp }) => isUp);
    if (!node) throw new Error("No node of the cluster is up");
    return node;
  }

  /** Separates a node from the others until disposed; clients reach all nodes. */
  async isolate(node: PrivateBroker): Promise<AsyncDisposable> {
    const others = this.nodes.filter((each) => each !== node);
    const addresses = others.map(({ address }) => address);
    return await partition([node.address], addresses);
  }

  /** Resolves when all nodes that are up know each other. */
  async whole(): Promise<void> {
    const up = this.nodes.filter(({ isUp }) => isUp);
    const names = up.map(({ name }) => name).toSorted();
    for (const node of up) {
      await until(
        `${node.name} knows ${names}`,
        async () => {
          const status = await node.ctl("cluster_status", "--formatter", "json")
            .catch(() => "{}");
          const { running_nodes: running = [] } = JSON.parse(status);
          return `${running.toSorted()}` === `${names}`;
        },
        60_000,
        200,
      );
    }
  }

  /** The node that leads a quorum queue, or has a classic one. */
  async leaderOf(queue: string): Promise<PrivateBroker> {
    // As text: RabbitMQ 3.10 leaves the node out of a pid in JSON.
    const listed = await this.running.ctl(
      ...["list_queues", "-q", "--no-table-headers", "name", "leader", "pid"],
    );
    const rows = listed.split("\n").map((line) => line.split("\t"));
    const [, leader, pid] = rows.find(([name]) => name === queue) ?? [];
    const place = leader || pid || "";
    const node = this.nodes.find(({ name }) => place.includes(name));
    if (!node) throw new Error(`No node leads ${queue}: ${place}`);
    return node;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

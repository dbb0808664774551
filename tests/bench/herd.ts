/**
 * The herd: connects and declarations a second of many clients that lose a node at the same moment. On a private cluster
 * or node on loopback, which is gone at the end:
 *
 *     deno run -A tests/bench/herd.ts                       # 200 clients, one of three nodes is killed
 *     deno run -A tests/bench/herd.ts --nodes 1             # the only broker is killed and started again
 *     deno run -A tests/bench/herd.ts --proxies             # the nodes are three ways to one broker, which is faster
 *     deno run -A tests/bench/herd.ts --rabbitmq 3.10 --clients 100 --services 100 --queue quorum
 *
 * A client has two connections and an inbox; a service also serves a topic, a host and fanouts. All are in this process,
 * each with a transport of its own. A run takes about a minute.
 */
import { parseArgs } from "node:util";
import { z } from "npm:zod@^4.6.7";
import { contract, createConnection, implement, Service } from "../../mod.ts";
import { Channel } from "../../src/amqp/channel/channel.ts";
import { Connection } from "../../src/amqp/connection.ts";
import { privateCluster } from "../setup/cluster.ts";
import { until } from "../setup/probe.ts";
import { proxyTo } from "../setup/proxy.ts";
import {
  provideRabbitmq,
  RABBITMQ_VARIABLE,
  versionOf,
} from "../setup/rabbitmq/versions.ts";

/** Bytes that a message may have at least. Each client has another setting, so another transport. */
const MESSAGE_BYTES = 1_048_576;
/** Milliseconds after which the loss of a connection is no failed attempt, with a reserve. */
const STEADY_MS = 1_500;
/** Clients that are started at the same time. */
const STARTS = 10;

const herd = contract({
  topic: "herd",
  version: "1.0",
  procedures: { ping: { result: z.string() } },
});

/** Times of events in milliseconds of `performance.now()`, by their names. */
const events = new Map<string, number[]>();

function record(name: string): void {
  events.set(name, [...events.get(name) ?? [], performance.now()]);
}

const { request } = Channel.prototype;
Channel.prototype.request = function (name, args) {
  const passive = (args as { passive?: boolean }).passive ? " passive" : "";
  record(`${name}${passive}`);
  return request.call(this, name, args) as never;
};
const { open } = Connection.prototype;
Connection.prototype.open = async function (target) {
  await open.call(this, target);
  record("connect");
};

const { values } = parseArgs({
  options: {
    rabbitmq: { type: "string", default: "4.3" },
    nodes: { type: "string", default: "3" },
    proxies: { type: "boolean", default: false },
    clients: { type: "string", default: "180" },
    services: { type: "string", default: "20" },
    queue: { type: "string", default: "quorum" },
    seconds: { type: "string", default: "12" }, // printed after the loss
  },
});
const queueType = values.queue as "quorum" | "classic";
const sbin = await provideRabbitmq(values.rabbitmq);
Deno.env.set(RABBITMQ_VARIABLE, sbin);
const size = Number(values.nodes);
await using cluster = await privateCluster({ size: values.proxies ? 1 : size });
const [base] = cluster.urls;
const nodes = values.proxies ? proxies(`${base}`) : cluster.nodes;
const url = nodes.map((node) => node.url);

/** Ways to one broker that can be cut off, like nodes that can be killed. */
function proxies(base: string) {
  return Array.from({ length: size }, () => {
    const proxy = proxyTo(base);
    const cut = (isCut: boolean) => {
      proxy.refuse(isCut);
      proxy.reset();
      return Promise.resolve();
    };
    return {
      url: proxy.url(base),
      kill: () => cut(true),
      start: () => cut(false),
    };
  });
}

let members = 0;
const settings = () => ({
  queueType,
  maxMessageSize: MESSAGE_BYTES + ++members,
});
const [, ...services] = await startAll(
  Number(values.services) + 1,
  (n) =>
    Service.start({
      ...{ url, host: `host-${n}`, signals: false, ...settings() },
      manager: implement(herd, { ping: () => "pong" }),
    }),
);
const clients = await startAll(Number(values.clients), async () => {
  const connection = await createConnection(url, settings());
  await connection.client(herd).call("ping");
  return connection;
});

/** Starts members one after another, some at the same time. */
async function startAll<T>(
  count: number,
  start: (n: number) => Promise<T>,
): Promise<T[]> {
  const started: T[] = [];
  let next = 0;
  await Promise.all(Array.from({ length: STARTS }, async () => {
    while (next < count) started.push(await start(next++));
  }));
  return started;
}

const [first, ...others] = nodes;
if (!first) throw new Error("--nodes: give at least 1");
console.log(
  `RabbitMQ ${versionOf(sbin)}, ${
    new Date().toISOString()
  }: ${clients.length} clients and ` +
    `${services.length + 1} services on ${nodes.length} ${
      values.proxies ? "ways to one node" : "nodes"
    }, ${queueType} queues`,
);
const isUp = (connection: (typeof clients)[number]) => {
  const { publishing, consuming } = connection.health();
  return publishing.state === "up" && consuming.state === "up";
};
const startedAt = performance.now();
const isSteady = () => performance.now() > startedAt + STEADY_MS;
await until("connections that are lost at once are no case", isSteady);
events.clear();
let lostAt = performance.now();
await first.kill();
if (others.length === 0) {
  await first.start();
  const connects = events.get("connect") ?? [];
  lostAt = connects[0] ?? performance.now(); // the broker is back
}
const seconds = Number(values.seconds);
await until(
  `${seconds} s have passed`,
  () => performance.now() > lostAt + seconds * 1_000,
  60_000,
  50,
);
await until("all clients are up", () => clients.every(isUp), 60_000);
const last = Math.max(...(events.get("connect") ?? [])) - lostAt;
console.log(`the last connect after ${(last / 1_000).toFixed(1)} s`);
console.log(`\n| second | ${[...events.keys()].join(" | ")} |`);
console.log(`| ---: | ${[...events.keys()].map(() => "---:").join(" | ")} |`);
for (let second = 0; second < seconds; second++) {
  const from = lostAt + second * 1_000;
  const counts = [...events.values()].map((times) =>
    times.filter((at) => at >= from && at < from + 1_000).length
  );
  console.log(`| ${second} | ${counts.join(" | ")} |`);
}
const totals = [...events.values()].map(({ length }) => length);
console.log(`| all | ${totals.join(" | ")} |`);
await Promise.all(clients.map((each) => each[Symbol.asyncDispose]()));
await Promise.all(services.map((each) => each.kill()));
Deno.exit(0);

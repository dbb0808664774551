/**
 * What the parts of a fleet cost a RabbitMQ node: memory of each connection, channel, queue, binding and worker, and
 * declarations a second. On a private node of its own on loopback, which is gone at the end:
 *
 *     deno run -A tests/bench/topology.ts --rabbitmq 4.3
 *     deno run -A tests/bench/topology.ts --rabbitmq 3.10 --parts classic,quorum --rounds 5
 *     deno run -A tests/bench/topology.ts --rabbitmq 3.10 --parts connection --buffers 32768
 *     deno run -A tests/bench/topology.ts --rounds 0 --inventory    # what one worker has on the broker
 *
 * Every figure is the median of the rounds, with the least and the most. Memory is `erlang:memory(total)` after a
 * collection of all processes, divided by the number of things. A round of all parts takes some 10 s.
 */
import { parseArgs } from "node:util";
import { z } from "npm:zod@^4.6.7";
import { contract, implement, Service } from "../../mod.ts";
import { type Channel, connect, type Connection } from "../../src/amqp/mod.ts";
import { type PrivateBroker, privateBroker } from "../setup/broker.ts";
import {
  provideRabbitmq,
  RABBITMQ_VARIABLE,
  versionOf,
} from "../setup/rabbitmq/versions.ts";
import { spread } from "./statistics.ts";

/** Requests that are under way at once, as those of Warren's connection for declarations. */
const CHANNELS = 16;

/** Makes things on the broker; returns how many, and what removes them. */
type Part = (broker: PrivateBroker) => Promise<Made>;

interface Made {
  readonly count: number;
  /** Milliseconds that it took. */
  readonly ms: number;
  remove(): Promise<unknown>;
}

/** Runs `work` for each number up to `count`, `CHANNELS` at a time, each on a channel of its own. */
async function declare(
  connection: Connection,
  count: number,
  work: (channel: Channel, n: number) => Promise<unknown>,
): Promise<number> {
  const channels = await Promise.all(
    Array.from({ length: CHANNELS }, () => connection.openChannel()),
  );
  const startedAt = performance.now();
  await Promise.all(channels.map(async (channel, first) => {
    for (let n = first; n < count; n += CHANNELS) await work(channel, n);
  }));
  const ms = performance.now() - startedAt;
  await Promise.all(channels.map((channel) => channel.close()));
  return ms;
}

/** Queues of one form. */
function queues(
  count: number,
  form: { readonly exclusive?: boolean; readonly type?: string },
): Part {
  return async ({ url }) => {
    const connection = await connect(url);
    const { exclusive = false, type = "classic" } = form;
    const args = exclusive ? {} : { "x-queue-type": type };
    const name = (n: number) => `topology_${type}_${exclusive}_${n}`;
    const ms = await declare(
      connection,
      count,
      (channel, n) =>
        channel.request("queue.declare", {
          queue: name(n),
          exclusive,
          durable: !exclusive,
          arguments: args,
        }),
    );
    return {
      ...{ count, ms },
      remove: async () => {
        await declare(
          connection,
          count,
          (channel, n) => channel.request("queue.delete", { queue: name(n) }),
        );
        await connection.close();
      },
    };
  };
}

async function bindings({ url }: PrivateBroker): Promise<Made> {
  const count = 4_000;
  const connection = await connect(url);
  const channel = await connection.openChannel();
  const queue = "topology_bound";
  await channel.request("queue.declare", { queue, durable: true });
  const ms = await declare(
    connection,
    count,
    (channel, n) =>
      channel.request("queue.bind", {
        ...{ queue, exchange: "amq.direct", routingKey: `compute.host-${n}` },
      }),
  );
  return {
    ...{ count, ms },
    remove: async () => {
      await channel.request("queue.delete", { queue });
      await connection.close();
    },
  };
}

async function connections({ url }: PrivateBroker): Promise<Made> {
  const count = 200;
  const startedAt = performance.now();
  const opened: Connection[] = [];
  await Promise.all(Array.from({ length: CHANNELS }, async () => {
    while (opened.length < count) {
      const place = opened.push(undefined as never) - 1;
      opened[place] = await connect(url);
    }
  }));
  const ms = performance.now() - startedAt;
  const remove = () => Promise.all(opened.map((each) => each.close()));
  return { count, ms, remove };
}

async function channels({ url }: PrivateBroker): Promise<Made> {
  const count = 400;
  const connection = await connect(url);
  const startedAt = performance.now();
  for (let n = 0; n < count; n++) await connection.openChannel();
  const ms = performance.now() - startedAt;
  return { count, ms, remove: () => connection.close() };
}

const compute = contract({
  topic: "compute",
  version: "1.0",
  procedures: { ping: { result: z.string() } },
});

/** Whole services, each with two connections as if it were a process of its own. */
function workers(count: number): Part {
  return async ({ url }) => {
    const startedAt = performance.now();
    const started = await Promise.all(
      Array.from({ length: count }, (_, n) =>
        Service.start({
          url,
          host: `host-${n}`,
          signals: false,
          maxMessageSize: 1_048_576 + n, // another setting, so another transport
          manager: implement(compute, { ping: () => "pong" }),
        })),
    );
    const ms = performance.now() - startedAt;
    const remove = () => Promise.all(started.map((service) => service.kill()));
    return { count, ms, remove };
  };
}

const parts: Readonly<Record<string, Part>> = {
  connection: connections,
  channel: channels,
  binding: bindings,
  classic: queues(400, {}),
  exclusive: queues(400, { exclusive: true }),
  quorum: queues(100, { type: "quorum" }),
  worker: workers(40),
};

/** Bytes that the node uses, without what can be collected. */
async function memory(broker: PrivateBroker): Promise<number> {
  const text = await broker.ctl(
    "eval",
    "[erlang:garbage_collect(P) || P <- processes()], erlang:memory(total).",
  );
  return Number(text.trim());
}

/** Prints what one worker has on the broker. */
async function inventory(broker: PrivateBroker): Promise<void> {
  const { remove } = await workers(1)(broker);
  const rows = async (...args: string[]) =>
    (await broker.ctl("-q", ...args, "--no-table-headers")).trim().split("\n")
      .filter((line) => line !== "").toSorted();
  console.log("\nA worker (host-0, topic compute) has:");
  for (
    const [what, ...args] of [
      ["connections", "list_connections", "name"],
      ["channels", "list_channels", "name"],
      ["consumers", "list_consumers", "queue_name"],
      ["queues", "list_queues", "name", "type", "durable", "exclusive"],
      ["bindings", "list_bindings", "source_name", "routing_key"],
    ]
  ) {
    const found = await rows(...args);
    const shown = ["queues", "bindings"].includes(what ?? "")
      ? found.map((line) => `\n  ${line.replaceAll("\t", " · ")}`).join("")
      : "";
    console.log(`${found.length} ${what}${shown}`);
  }
  await remove();
}

const { values } = parseArgs({
  options: {
    rabbitmq: { type: "string", default: "4.3" },
    rounds: { type: "string", default: "5" },
    parts: { type: "string", default: Object.keys(parts).join() },
    buffers: { type: "string" }, // bytes of the buffers of a socket in rabbitmq.conf
    inventory: { type: "boolean", default: false },
  },
});
const chosen = values.parts.split(",").map((name) => {
  const part = parts[name];
  if (!part) throw new Error(`--parts: give some of ${Object.keys(parts)}`);
  return [name, part] as const;
});
const sbin = await provideRabbitmq(values.rabbitmq);
Deno.env.set(RABBITMQ_VARIABLE, sbin);
const begun = performance.now();
const { buffers } = values;
const config = buffers === undefined ? "" : ["sndbuf", "recbuf"]
  .map((option) => `tcp_listen_options.${option} = ${buffers}\n`).join("");
await using broker = await privateBroker({ config });
const version = `RabbitMQ ${versionOf(sbin)}`;
console.log(`${version}, ${new Date().toISOString()}`);
if (values.inventory) await inventory(broker);
const figures = new Map<string, { kib: number; perSecond: number }[]>();
for (let round = 0; round < Number(values.rounds); round++) {
  for (const [name, part] of chosen) {
    const before = await memory(broker);
    const { count, ms, remove } = await part(broker);
    const after = await memory(broker);
    await remove();
    const figure = {
      kib: (after - before) / count / 1_024,
      perSecond: count / ms * 1_000,
    };
    figures.set(name, [...figures.get(name) ?? [], figure]);
  }
}
const range = (numbers: readonly number[], digits: number) => {
  const { median, least, most } = spread(numbers);
  const text = (each: number) => each.toFixed(digits);
  return `${text(median)} (${text(least)}–${text(most)})`;
};
console.log("\n| part | KiB each | made a second |\n| --- | ---: | ---: |");
for (const [name, all] of figures) {
  const kib = range(all.map((one) => one.kib), 1);
  console.log(
    `| ${name} | ${kib} | ${range(all.map((one) => one.perSecond), 0)} |`,
  );
}
const seconds = ((performance.now() - begun) / 1_000).toFixed(0);
console.log(`\n${values.rounds} rounds in ${seconds} s`);

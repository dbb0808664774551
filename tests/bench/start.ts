/**
 * The start of a service with many topics: seconds until it is up, the first time and again, and its declarations. On a
 * private cluster on loopback, which is gone at the end:
 *
 *     deno run -A tests/bench/start.ts                       # 250 and 1000 topics, three nodes, quorum queues
 *     deno run -A tests/bench/start.ts --rabbitmq 3.10 --topics 250 --nodes 1 --queue classic
 */
import { parseArgs } from "node:util";
import { z } from "npm:zod@^4.6.7";
import { contract, implement, Service } from "../../mod.ts";
import { Channel } from "../../src/amqp/channel/channel.ts";
import { privateCluster } from "../setup/cluster.ts";
import {
  provideRabbitmq,
  RABBITMQ_VARIABLE,
  versionOf,
} from "../setup/rabbitmq/versions.ts";

const { values } = parseArgs({
  options: {
    rabbitmq: { type: "string", default: "4.3" },
    nodes: { type: "string", default: "3" },
    topics: { type: "string", default: "250,1000" },
    queue: { type: "string", default: "auto" }, // quorum, if there are several nodes
  },
});

/** Requests by their names. */
const requests = new Map<string, number>();
const { request } = Channel.prototype;
Channel.prototype.request = function (name, args) {
  const passive = (args as { passive?: boolean }).passive ? " passive" : "";
  const key = `${name}${passive}`;
  requests.set(key, (requests.get(key) ?? 0) + 1);
  return request.call(this, name, args) as never;
};

const sbin = await provideRabbitmq(values.rabbitmq);
Deno.env.set(RABBITMQ_VARIABLE, sbin);
await using cluster = await privateCluster({ size: Number(values.nodes) });
const [url = ""] = cluster.urls;
console.log(
  `RabbitMQ ${
    versionOf(sbin)
  }, ${values.nodes} nodes, queueType ${values.queue}, ${
    new Date().toISOString()
  }`,
);
console.log("\n| topics | start | s | requests |\n| ---: | --- | ---: | --- |");
for (const count of values.topics.split(",").map(Number)) {
  const managers = Array.from({ length: count }, (_, n) =>
    implement(
      contract({
        topic: `t${count}-${n}`,
        version: "1.0",
        procedures: { ping: { result: z.string() } },
      }),
      { ping: () => "pong" },
    ));
  for (const start of ["first", "again"]) {
    requests.clear();
    const startedAt = performance.now();
    const service = await Service.start({
      url: cluster.nodes.length > 1 ? cluster.urls : url,
      queueType: values.queue as "auto" | "classic" | "quorum",
      host: "bench",
      signals: false,
      timeout: 300_000,
      manager: managers,
    });
    const seconds = (performance.now() - startedAt) / 1_000;
    const counts = [...requests].map(([name, times]) => `${times} ${name}`);
    console.log(
      `| ${count} | ${start} | ${seconds.toFixed(1)} | ${counts.join(", ")} |`,
    );
    await service.stop();
  }
}
Deno.exit(0);

/**
 * A worker as a container runs it: configuration from the environment, probes on a port, SIGTERM drains it.
 *
 *     AMQP_URL=amqp://localhost WARREN_HEALTH_PORT=8080 deno run -A examples/container_worker.ts
 *
 * @module
 */
import { configure, getConsoleSink } from "npm:@logtape/logtape@^2.4.2";
import { z } from "npm:zod@^4.6.7";
import { contract, implement, loadConfig, Service } from "../mod.ts";

/** The contract, which callers import. */
export const resizer = contract({
  topic: "resizer",
  version: "1.0",
  procedures: {
    resize: { args: z.object({ ms: z.int() }), result: z.string() },
  },
});

if (import.meta.main) {
  const config = loadConfig();
  await configure({
    sinks: { console: getConsoleSink() },
    loggers: [
      { category: "warren", lowestLevel: config.logLevel, sinks: ["console"] },
      {
        category: ["logtape", "meta"],
        lowestLevel: "error",
        sinks: ["console"],
      },
    ],
  });
  const manager = implement(resizer, {
    async resize({ ms }) {
      await new Promise((resolve) => setTimeout(resolve, ms));
      return "resized";
    },
  });
  await using service = await Service.start({ ...config, manager });
  await service.stopped; // SIGTERM: takes no more messages, finishes what it has
  console.log(`drained after ${service.stats.handled} requests`);
}

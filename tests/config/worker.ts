/**
 * A configured worker as a program of its own: `config_worker.ts`. Says "ready" when it serves, what it runs with after
 * every reload, and every line that the service logs.
 */
import { configure, type LogRecord } from "npm:@logtape/logtape@^2.4.2";
import {
  contract,
  describeConfig,
  implement,
  loadConfig,
  Service,
  watchConfig,
} from "../../mod.ts";

const config = loadConfig();
console.log(describeConfig(config));
await configure({
  sinks: {
    lines: ({ category, level, message }: LogRecord) => {
      const text = message.join("");
      if (category[0] === "warren") console.log(`log ${level} ${text}`);
    },
  },
  loggers: [
    { category: "warren", lowestLevel: "info", sinks: ["lines"] },
    { category: ["logtape", "meta"], lowestLevel: "error" },
  ],
});
const manager = implement(
  contract({ topic: "config", version: "1.0", procedures: { ping: {} } }),
  { ping: () => {} },
);
await using service = await Service.start({ ...config, manager });
using _watcher = watchConfig(config, {
  services: [service],
  logLevel: (level) => console.log(`level ${level}`),
  reloaded: ({ applied, restart }) =>
    console.log(
      JSON.stringify({ applied, restart, concurrency: service.concurrency }),
    ),
});
console.log("ready");
await service.stopped;
console.log("stopped");

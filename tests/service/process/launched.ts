/**
 * A program with workers: `launched.ts <url> <topic> <workers> [file] [port]`. It answers for health on `port` and those
 * after it. A worker dies at birth while there is such a file. It prints `born <pid>`, `serving <pid>`
 * when it has started, `holding <pid>` as an error, and when it has stopped, how many requests it `handled` and how many
 * of all were `redelivered`; launcher and workers print `ended` at their end.
 */
import { implement, launch, Service } from "../../../mod.ts";
import { launched } from "./launched_contract.ts";

const [url = "", topic = "", workers = "", file, port] = Deno.args;
const health = {
  healthPort: port === undefined ? undefined : Number(port),
  healthHostname: "127.0.0.1",
};

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const manager = implement(launched(topic), {
  hold: async ({ ms }) => {
    console.error(`holding ${Deno.pid}`);
    await later(ms);
    return Deno.pid;
  },
  echo: async ({ n }) => {
    await later(5);
    return n;
  },
});

const exists = (path: string) => Deno.stat(path).then(() => true, () => false);

async function start(): Promise<Service> {
  console.log(`born ${Deno.pid}`);
  if (file && await exists(file)) throw new Error("expected");
  const service = await Service.start({
    url,
    manager,
    host: "one",
    ...health,
  });
  console.log(`serving ${Deno.pid}`);
  service.stopped.then(() => {
    const { handled, redelivered } = service.stats;
    console.log(`handled ${handled}\nredelivered ${redelivered}`);
  });
  return service;
}

let over = false;
const isWorker = Boolean(Deno.env.get("WARREN_WORKER"));
const owner = isWorker ? undefined : Deno.stdin.readable.getReader();
// A launcher whose test has died must not stay: its stdin ends then.
owner?.read().then(() => over || Deno.exit(1));

await launch([start], { workers: Number(workers), ...health });
console.log("ended");
over = true;
await owner?.cancel();

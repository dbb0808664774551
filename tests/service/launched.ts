/**
 * A program with workers: `launched.ts <url> <topic> <workers> [file]`. A worker dies at birth while there is such a file. It prints `born <pid>`, `serving <pid>`
 * when it has started, and `holding <pid>` as an error; launcher and workers print `ended` at their end.
 */
import { implement, launch, Service } from "../../mod.ts";
import { launched } from "./launched_contract.ts";

const [url = "", topic = "", workers = "", file] = Deno.args;

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
  const service = await Service.start({ url, manager, host: "one" });
  console.log(`serving ${Deno.pid}`);
  return service;
}

let over = false;
const isWorker = Boolean(Deno.env.get("WARREN_WORKER"));
const owner = isWorker ? undefined : Deno.stdin.readable.getReader();
// A launcher whose test has died must not stay: its stdin ends then.
owner?.read().then(() => over || Deno.exit(1));

await launch([start], { workers: Number(workers) });
console.log("ended");
over = true;
await owner?.cancel();

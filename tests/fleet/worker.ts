/** A worker process of the fleet: `worker.ts <url> <host>`. Prints `ready`, serves until a signal, prints `stopped`; with `--leader` it stands for the task `sweep`. */
import { implement, type PeriodicTask, Service } from "../../mod.ts";
import { fleet } from "./contract.ts";

const [url = "", host = ""] = Deno.args;
const heard: string[] = [];

const manager = implement(fleet, {
  who: () => host,
  work: async ({ id, ms }) => {
    console.log(`started ${id}`);
    await new Promise((resolve) => setTimeout(resolve, ms));
    return host;
  },
  tell: ({ id }) => void heard.push(id),
  heard: () => heard,
  async *tail(_, { signal }) {
    for (let n = 1; !signal.aborted; n++) {
      yield `${host} ${n}`;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  },
});

if (Deno.args.includes("--leader")) {
  const sweep: PeriodicTask = {
    name: "sweep",
    every: 50,
    initialDelay: 0,
    leader: true,
    run: () =>
      console.log(`sweep ${performance.timeOrigin + performance.now()}`),
  };
  Object.assign(manager, { periodic: [sweep] });
}

await using service = await Service.start({
  url,
  host,
  manager,
  reportInterval: 200,
});
console.log("ready");
await service.stopped;
const { handled, redelivered } = service.stats;
console.log(`handled ${handled}\nredelivered ${redelivered}\nstopped`);

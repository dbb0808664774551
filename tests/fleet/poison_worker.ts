/** A worker process that what it serves can kill: `poison_worker.ts <url> <host> <queue type>`. Prints `poison`, and `done <id>`. */
import { implement, Service } from "../../mod.ts";
import { poisonable } from "./poison.ts";

const [url = "", host = "", queueType] = Deno.args;

const manager = implement(poisonable, {
  work: ({ id, poison }) => {
    if (poison) {
      console.log("poison");
      Deno.kill(Deno.pid, "SIGKILL");
    }
    console.log(`done ${id}`);
  },
});

await using service = await Service.start({
  url,
  host,
  manager,
  reportInterval: 0,
  queueType: queueType === "quorum" ? "quorum" : "classic",
});
console.log("ready");
await service.stopped;
const { interrupted } = service.stats;
console.log(`interrupted ${interrupted}\nstopped`);

/** A worker process that what it serves can kill: `poison_worker.ts <url> <host> <queue type> [<database>]`. Prints `poison`, and `done <id>`. */
// @ts-types="npm:@types/pg@^8"
import pg from "npm:pg@^8";
import {
  implement,
  memoryLedgerStore,
  postgresLedgerStore,
  Service,
} from "../../mod.ts";
import { poisonable } from "./poison.ts";

const [url = "", host = "", queueType, connectionString] = Deno.args;

const work = ({ id, poison }: { id: number; poison: boolean }) => {
  if (poison) {
    console.log("poison");
    Deno.kill(Deno.pid, "SIGKILL");
  }
  console.log(`done ${id}`);
};
const manager = implement(poisonable, { work, long: work });
const lease = 1_000;
const ledger = connectionString
  ? postgresLedgerStore(new pg.Pool({ connectionString }), { lease })
  : memoryLedgerStore(); // as good as none

await using service = await Service.start({
  url,
  host,
  manager,
  ledger,
  reportInterval: 0,
  queueType: queueType === "quorum" ? "quorum" : "classic",
});
console.log("ready");
await service.stopped;
const { interrupted } = service.stats;
console.log(`interrupted ${interrupted}\nstopped`);
Deno.exit(0); // whatever the database's pool still waits for

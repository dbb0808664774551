/** Makes calls in one process, 64 in flight, and prints the microseconds of processor time of each: `calls.ts <url> <calls>`. */
import process from "node:process";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  createConnection,
  implement,
  Service,
} from "../../../mod.ts";

const [url = "", calls = ""] = Deno.args;
const IN_FLIGHT = 64;
const WARM_CALLS = 5_000;

const sums = contract({
  topic: `cost-${crypto.randomUUID()}`,
  version: "1.0",
  procedures: {
    add: {
      args: z.object({ a: z.number(), text: z.string() }),
      result: z.number(),
    },
  },
});
const manager = implement(sums, { add: ({ a }) => a + 1 });
await using _service = await Service.start({ url, manager, signals: false });
await using connection = await createConnection(url);
const client = connection.client(sums);
const text = "x".repeat(250);

/** Makes so many calls. */
async function run(count: number): Promise<void> {
  let left = count;
  const one = async () => {
    while (left-- > 0) await client.call("add", { a: left, text });
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, one));
}

await run(WARM_CALLS);
const before = process.cpuUsage();
await run(Number(calls));
const { user, system } = process.cpuUsage(before);
console.log((user + system) / Number(calls));

/**
 * Several brokers, each with workers of its own: a directory of hosts says which request goes to which cell.
 *
 *     deno run -A examples/cells.ts                                       # two cells in memory, and one that is down
 *     deno run -A examples/cells.ts "north=amqp://broker1 south=amqp://broker2,amqp://broker3"
 *
 * @module
 */
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  createConnection,
  implement,
  loadConfig,
  Service,
} from "../mod.ts";

const [map = "north=memory:north south=memory:south east=amqp://127.0.0.1:1"] =
  Deno.args;
Deno.env.set("WARREN_CELLS", map); // all processes of a fleet share this variable
const { cells, ...shared } = loadConfig();
const [first = "", second = first] = Object.keys(cells);

const compute = contract({
  topic: "compute",
  version: "1.0",
  procedures: {
    uptime: { result: z.string() },
    reload: { args: z.object({ file: z.string() }) },
  },
});

/** A worker lives in one cell; its process would have the name of the cell in `WARREN_CELL`. */
function worker(cell: string, host: string): Promise<Service> {
  const manager = implement(compute, {
    uptime: () => `${host} in ${cell}: up 1 day`,
    reload: ({ file }) => console.log(`${host} reloads ${file}`),
  });
  return Service.start({ cells, cell, host, manager });
}
await using _one = await worker(first, "gb07");
await using _two = await worker(second, "nd03");

// The directory: which cell has a host. A fleet would keep it in its database (Nova: the host mappings).
const directory = new Map<string, string>();
await using connection = await createConnection({
  cells,
  route: ({ host = "" }) => directory.get(host),
}, shared);

const services = connection.services();
for await (const { topic, host, cell } of services) {
  if (topic === compute.topic) directory.set(host, cell);
}
for (const [cell, error] of Object.entries(services.failed)) {
  console.log(`${cell} does not answer: ${error.name}`);
}

const client = connection.client(compute);
for (const host of ["gb07", "nd03"]) {
  console.log(await client.call("uptime", {}, { host }));
}
try {
  await client.call("uptime", {}, { host: "xx01" });
} catch (error) {
  console.log(error instanceof Error ? error.message : error);
}
const { reached } = await client.fanoutCast("reload", { file: "flavors" });
console.log(`reload reached ${reached.toSorted().join(" and ")}`);

/**
 * A contract goes from 1.0 to 1.1 while both run: the workers are replaced first, then the callers. `versionCap` lets new
 * callers start before the last old worker has gone.
 *
 *     deno run -A examples/rolling_deployment.ts
 *
 * @module
 */
import { z } from "npm:zod@^4.6.7";
import {
  type ConnectionContext,
  contract,
  createConnection,
  implement,
  Service,
  UnsupportedVersionError,
} from "../mod.ts";

const args = z.object({ name: z.string() });
const topic = "greeter";

/** The contract that runs today. */
const v1_0 = contract({
  topic,
  version: "1.0",
  procedures: { greet: { args, result: z.string() } },
});

/** The next one: `greet` has a further argument with a default, and `part` is new. */
const v1_1 = contract({
  topic,
  version: "1.1",
  procedures: {
    greet: {
      args: args.extend({ loud: z.boolean().default(false) }),
      result: z.string(),
    },
    part: { args, result: z.string(), since: "1.1" },
  },
});

const oldManager = implement(v1_0, { greet: ({ name }) => `Hello ${name}` });
const newManager = implement(v1_1, {
  greet: ({ name, loud }) => `Hello ${loud ? name.toUpperCase() : name}`,
  part: ({ name }) => `Goodbye ${name}`,
});

const url = Deno.args[0] ?? "memory:rolling";
const common = { url, signals: false };

/** Lists the versions that the running workers report. */
async function versions(connection: ConnectionContext): Promise<string> {
  const found: string[] = [];
  for await (const service of connection.services({ topic, timeout: 300 })) {
    if (service.state === "up") {
      found.push(`${service.host} ${service.version}`);
    }
  }
  return found.sort().join(", ");
}

await using connection = await createConnection(url);
await using oldWorker = await Service.start({
  ...common,
  host: "a",
  manager: oldManager,
});
const oldCaller = connection.client(v1_0);
console.log("1", await versions(connection));
console.log("1", await oldCaller.call("greet", { name: "Ada" }));

// Workers first. The new one serves old callers as before.
await using _newWorker = await Service.start({
  ...common,
  host: "b",
  manager: newManager,
});
console.log("2", await versions(connection));
for (const _ of ["either", "worker"]) {
  console.log("2", await oldCaller.call("greet", { name: "Ada" }));
}

// A caller that is replaced too early asks for nothing newer than the cap, and finds that out before it sends anything.
const early = connection.client(v1_1, { versionCap: "1.0" });
console.log("3", await early.call("greet", { name: "Alan" }));
try {
  await early.call("part", { name: "Alan" });
} catch (error) {
  if (!(error instanceof UnsupportedVersionError)) throw error;
  console.log("3", error.code);
}

// The last old worker drains. All report 1.1 now, so the cap can go.
await oldWorker.stop();
console.log("4", await versions(connection));
const newCaller = connection.client(v1_1);
console.log("4", await newCaller.call("greet", { name: "Alan", loud: true }));
console.log("4", await newCaller.call("part", { name: "Alan" }));

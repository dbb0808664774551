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
  procedures: {
    greet: { args, result: z.string() },
    languages: { result: z.array(z.string()) },
  },
});

/**
 * The next one: `greet` has a further argument with a default, `part` is new, and `languages` is as it was. `since` is the
 * version in which a procedure has its present form, so `greet` has one too: without it an old worker would serve the new
 * callers and drop the argument that it does not know.
 */
const v1_1 = contract({
  topic,
  version: "1.1",
  procedures: {
    greet: {
      args: args.extend({ loud: z.boolean().default(false) }),
      result: z.string(),
      since: "1.1",
    },
    part: { args, result: z.string(), since: "1.1" },
    languages: { result: z.array(z.string()) },
  },
});

const languages = () => ["en"];
const oldManager = implement(v1_0, {
  languages,
  greet: ({ name }) => `Hello ${name}`,
});
const newManager = implement(v1_1, {
  languages,
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

/** Prints the code of the error with which a call is refused. */
async function refused(step: string, call: Promise<unknown>): Promise<void> {
  try {
    await call;
    console.log(step, "done");
  } catch (error) {
    if (!(error instanceof UnsupportedVersionError)) throw error;
    console.log(step, error.code);
  }
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
// An old worker refuses what it does not have in this form. (With a new worker beside it, that one gets the call.)
const newCaller = connection.client(v1_1);
await refused("1", newCaller.call("greet", { name: "Ada", loud: true }));
console.log("1", await newCaller.call("languages"));

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

// A caller that is replaced too early requests nothing newer than the cap: the error comes before anything is sent.
const early = connection.client(v1_1, { versionCap: "1.0" });
console.log("3", await early.call("languages"));
await refused("3", early.call("greet", { name: "Alan", loud: true }));
await refused("3", early.call("part", { name: "Alan" }));

// The last old worker drains. All report 1.1 now, so the cap can go.
await oldWorker.stop();
console.log("4", await versions(connection));
console.log("4", await newCaller.call("greet", { name: "Alan", loud: true }));
console.log("4", await newCaller.call("part", { name: "Alan" }));

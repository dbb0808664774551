/**
 * Lists the dead letters of a topic, groups them, puts them back into the queues from which they came, or deletes them:
 * all of them, those of one procedure, or one that is chosen by its id.
 *
 *     deno run -A examples/dead_letters.ts list volumes
 *     deno run -A examples/dead_letters.ts replay volumes --id <id>
 *
 * @module
 */
import { parseArgs } from "node:util";
import {
  createConnection,
  type DeadLetterFilter,
  InvalidValueError,
  operations,
} from "../mod.ts";

const USAGE = `Usage:
  dead_letters.ts list <topic> [options]      show the dead letters; they stay where they are
  dead_letters.ts groups <topic> [options]    count them by procedure and error
  dead_letters.ts replay <topic> [options]    put them back into their queues: they run again
  dead_letters.ts discard <topic> [options]   delete them

Options:
  --id <id>             only the dead letter with this id
  --procedure <name>    only those of this procedure, or of events of this type; * stands for any characters
  --host <host>         those of the queue of this host
  --pool <pool>         those of the events that this pool of listeners gets of the topic
  --limit <number>      replay or discard at most so many (default 100)
  --dry-run             only say how many would be replayed or discarded
  --url <url>           the broker (default: AMQP_URL, else amqp://localhost)`;

/** Prints a sentence on standard error, and ends the program. */
function fail(text: string): never {
  console.error(text);
  Deno.exit(2);
}

/** The command line. */
function readArguments() {
  const text = { type: "string" } as const;
  const flag = { type: "boolean" } as const;
  const names = { id: text, procedure: text, host: text, pool: text };
  const options = { ...names, limit: text, url: text, "dry-run": flag };
  try {
    return parseArgs({
      allowPositionals: true,
      options: { ...options, help: flag },
    });
  } catch (error) { // an option that there is not
    return fail(`${(error as Error).message}\n\n${USAGE}`);
  }
}

const { values, positionals: [verb, topic = "", extra] } = readArguments();
if (values.help) {
  console.log(USAGE);
  Deno.exit(0);
}
const { id, procedure, host, pool } = values;
const conditions = { procedure, ids: id === undefined ? undefined : [id] };
const filter: DeadLetterFilter = pool === undefined
  ? { topic, host, ...conditions }
  : { events: { topic, pool }, ...conditions };
const options = {
  limit: Number(values.limit ?? 100),
  dryRun: values["dry-run"],
};
const url = values.url ?? Deno.env.get("AMQP_URL") ?? "amqp://localhost";
await using connection = await createConnection(url);
const { deadLetters, groups, replay, discard } = operations(connection);

const verbs: Readonly<Record<string, () => Promise<void>>> = {
  async list() {
    let found = 0;
    for await (const letter of deadLetters(filter)) {
      const { kind, attempts, reason } = letter;
      const name = letter.procedure ?? kind;
      console.log(`${letter.id} ${name}: ${attempts} attempts, ${reason}`);
      console.log(`  ${JSON.stringify(letter.args ?? null).slice(0, 300)}`);
      found++;
    }
    console.log(`Dead letters found: ${found}`);
  },
  async groups() {
    for (const { count, procedure, kind, error } of await groups(filter)) {
      console.log(`${count} × ${procedure ?? kind}: ${error}`);
    }
  },
  async replay() {
    const { replayed, failed, failures } = await replay(filter, options);
    for (const { id, error } of failures) console.error(`${id}: ${error}`);
    console.log(`Dead letters replayed: ${replayed}`);
    if (failed > 0) Deno.exitCode = 1;
  },
  async discard() {
    const { discarded } = await discard(filter, options);
    console.log(`Dead letters discarded: ${discarded}`);
  },
};

const run = Object.hasOwn(verbs, `${verb}`) ? verbs[`${verb}`] : undefined;
if (!run || topic === "" || extra !== undefined) fail(USAGE);
try {
  await run();
} catch (error) {
  if (!(error instanceof InvalidValueError)) throw error;
  fail(error.message);
}

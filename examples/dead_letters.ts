/**
 * Lists the dead letters of a queue, or puts them back into the queues from which they came: all of them, those of one
 * procedure, or one that is chosen by its id.
 *
 *     deno run -A examples/dead_letters.ts list <queue>.dead
 *     deno run -A examples/dead_letters.ts requeue <queue>.dead --id <id>
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { parseArgs } from "node:util";
import * as amqp from "npm:amqplib@2.3.1";

const USAGE = `Usage:
  dead_letters.ts list <queue>.dead [options]      show the dead letters; they stay where they are
  dead_letters.ts requeue <queue>.dead [options]   put them back into their queues: they run again

Options:
  --id <id>             only the dead letter with this id
  --procedure <name>    only those of this procedure, or of events of this type
  --limit <number>      at most so many (default 100)
  --url <url>           the broker (default: AMQP_URL, else amqp://localhost)`;

/** Prints a sentence on standard error, and ends the program. */
function fail(text: string, code: number): never {
  console.error(text);
  Deno.exit(code);
}

/** The command line. */
function readArguments() {
  const text = { type: "string" } as const;
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        url: text,
        limit: text,
        id: text,
        procedure: text,
        help: { type: "boolean" },
      },
    });
  } catch (error) { // an option that there is not
    return fail(`${(error as Error).message}\n\n${USAGE}`, 2);
  }
}

/** Id, and procedure or type of event, of a message; both are empty if its body cannot be read. */
function describe(content: Buffer): { id: string; procedure: string } {
  try {
    const outer = JSON.parse(content.toString());
    const inner = outer["oslo.message"]; // a request from an OpenStack peer is in an envelope
    const body = typeof inner === "string" ? JSON.parse(inner) : outer;
    return {
      id: `${body._unique_id ?? body.message_id ?? ""}`,
      procedure: `${body.method ?? body.event_type ?? ""}`,
    };
  } catch {
    return { id: "", procedure: "" };
  }
}

const { values, positionals: [verb, queue = "", extra] } = readArguments();
if (values.help) {
  console.log(USAGE);
  Deno.exit(0);
}
const limit = Number(values.limit ?? 100);
const isVerb = verb === "list" || verb === "requeue";
if (!isVerb || queue === "" || extra !== undefined) fail(USAGE, 2);
if (!(limit > 0)) fail(`--limit ${values.limit} is not a number above 0`, 2);

const url = values.url ?? Deno.env.get("AMQP_URL") ?? "amqp://localhost";
const connection = await amqp.connect(url);
const channel = await connection.createConfirmChannel();
channel.on("error", () => {}); // the call that failed throws the same error

/** Resolves when the broker has confirmed the message. A message that no queue takes is returned before its confirm. */
function publish(
  to: string,
  content: Buffer,
  headers: Record<string, unknown>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const returned = () => reject(new Error(`There is no queue ${to}`));
    channel.once("return", returned);
    const options = { headers, persistent: true, mandatory: true };
    channel.sendToQueue(to, content, options, (error) => {
      channel.off("return", returned);
      if (error) reject(error);
      else resolve();
    });
  });
}

/** Lists or requeues the letters that the options choose, and returns how many there were. */
async function run(): Promise<number> {
  const { messageCount } = await channel.checkQueue(queue);
  let chosen = 0;
  // A requeued letter that fails again meanwhile is left alone: the loop ends with those that were there.
  for (let taken = 0; taken < messageCount && chosen < limit; taken++) {
    const letter = await channel.get(queue);
    if (!letter) break;
    // A letter that is not acknowledged is in the queue again when the connection closes.
    const { id, procedure } = describe(letter.content);
    if (values.id !== undefined && id !== values.id) continue;
    if ((values.procedure ?? procedure) !== procedure) continue;
    chosen++;
    const headers = letter.properties.headers ?? {};
    const { "warren-reason": reason, "warren-queue": origin } = headers;
    const attempts = headers["warren-attempts"];
    console.log(`${id} ${procedure}: ${attempts} attempts, ${reason}`);
    console.log(`  ${letter.content.toString().slice(0, 300)}`);
    if (verb === "list") continue;
    await publish(`${origin}`, letter.content, headers);
    channel.ack(letter);
  }
  return chosen;
}

try {
  const count = await run();
  const done = verb === "list" ? "found" : "requeued";
  console.log(`Dead letters ${done}: ${count}`);
  await channel.close(); // sends the acknowledgements
} catch (error) {
  if ((error as { code?: unknown }).code !== 404) throw error;
  console.error(
    `There is no queue ${queue}: nothing has become a dead letter there`,
  );
  Deno.exitCode = 1;
} finally {
  await connection.close();
}

/**
 * Lists the dead letters of a queue, or puts them back into the queues from which they came: all of them, those of one
 * procedure, or one that is chosen by its id.
 *
 *     deno run -A examples/dead_letters.ts list <queue>.dead
 *     deno run -A examples/dead_letters.ts requeue <queue>.dead --id <id>
 *
 * @module
 */
import { parseArgs } from "node:util";
import { AmqpError, connect, type ReceivedMessage } from "../src/amqp/mod.ts";

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

const textOf = ({ body }: ReceivedMessage) => new TextDecoder().decode(body);

/** Id, and procedure or type of event, of a message; both are empty if its body cannot be read. */
function describe(letter: ReceivedMessage): { id: string; procedure: string } {
  try {
    const outer = JSON.parse(textOf(letter));
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
const connection = await connect(url);
let wasReturned = false;
const channel = await connection.openChannel({
  confirms: true,
  onReturned: () => wasReturned = true,
});

/**
 * Publishes a copy of a letter to a queue. Resolves when the broker has confirmed the copy. A message that no queue takes is
 * returned before its confirm.
 */
function publish(to: string, letter: ReceivedMessage): Promise<void> {
  wasReturned = false;
  return new Promise((resolve, reject) => {
    const destination = { exchange: "", routingKey: to, mandatory: true };
    // Counts of a quorum queue belong to the deliveries of the letter.
    const { "x-delivery-count": _d, "x-acquired-count": _a, ...headers } =
      letter.headers;
    // The broker accepts no other user's name than that of this connection.
    const copy = { ...letter, headers, userId: undefined, persistent: true };
    channel.publish(destination, copy, (confirmation) => {
      if (wasReturned) reject(new Error(`There is no queue ${to}`));
      else if (confirmation === "ack") resolve();
      else reject(new Error(`Queue ${to} has not taken it: ${confirmation}`));
    });
  });
}

/** Lists or requeues the letters that the options choose, and returns how many there were. */
async function run(): Promise<number> {
  const declared = { queue, passive: true };
  const { messageCount } = await channel.request("queue.declare", declared);
  let chosen = 0;
  const left: number[] = [];
  // A requeued letter that fails again meanwhile is left alone: the loop ends with those that were there.
  for (let taken = 0; taken < messageCount && chosen < limit; taken++) {
    const letter = await channel.get(queue);
    if (!letter) break;
    left.push(letter.deliveryTag);
    const { id, procedure } = describe(letter);
    if (values.id !== undefined && id !== values.id) continue;
    if ((values.procedure ?? procedure) !== procedure) continue;
    chosen++;
    const { "warren-reason": reason, "warren-queue": origin } = letter.headers;
    const attempts = letter.headers["warren-attempts"];
    console.log(`${id} ${procedure}: ${attempts} attempts, ${reason}`);
    console.log(`  ${textOf(letter).slice(0, 300)}`);
    if (verb === "list") continue;
    await publish(`${origin}`, letter);
    channel.ack(letter.deliveryTag);
    left.pop();
  }
  // From RabbitMQ 4.3 on, basic.nack does not count towards the delivery limit of a quorum queue; a closed connection does.
  for (const tag of left) channel.nack(tag);
  return chosen;
}

try {
  const count = await run();
  const done = verb === "list" ? "found" : "requeued";
  console.log(`Dead letters ${done}: ${count}`);
  await channel.close(); // the broker has processed the acknowledgements when it answers
} catch (error) {
  const isMissing = error instanceof AmqpError && error.code === "NOT_FOUND";
  if (!isMissing) throw error;
  console.error(
    `There is no queue ${queue}: nothing has become a dead letter there`,
  );
  Deno.exitCode = 1;
} finally {
  await connection.close();
}

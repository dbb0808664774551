/** Command line of the compute example: the demo, a worker, a caller. @module */
import { parseArgs } from "node:util";
import { ConnectionFailedError, RpcError } from "../../mod.ts";
import { request } from "./caller.ts";
import { demo } from "./demo.ts";
import { work } from "./worker.ts";

const HELP = `\
Instances that count primes, on hosts that are called over RabbitMQ.

Usage:
  compute.ts                  two hosts and a caller in this process: every verb at work,
                              in memory, or on RabbitMQ where AMQP_URL is set (there, one
                              at a time: two would share the hosts gb07 and gb08)
  compute.ts worker           a host: serves until SIGINT or SIGTERM, then finishes what it has
  compute.ts call <procedure> [key=value …]     asks one host and prints its answer
  compute.ts cast <procedure> [key=value …]     tells one host, now or later
  compute.ts fanout <procedure> [key=value …]   tells every host that runs now

Procedures:
  runInstance name=… [upTo=…] starts an instance that counts the primes below upTo (10000000)
  list                        the instances of the host that answers
  console id=…                what an instance prints, line by line, until it ends or Ctrl-C
  reboot id=…                 lets an instance begin anew
  terminate id=…              ends an instance and forgets it
  prune                       forgets the instances that do not run any more
  An instance is known to its own host alone: give --host with an id.

Options:
  --host <name>               worker: its name (the machine's); call, cast: only that host
  --url <url>[,<url>…]        amqp://user:password@host:5672/vhost (AMQP_URL); several are the nodes of a cluster
  --timeout <ms>              longest wait for an answer, or between two lines (60000)
  --help                      this

Environment:
  AMQP_URL                    the broker, as --url; nothing else is read

Exit codes: 0 done; 1 failed, with "CODE: message" on stderr; 2 not understood`;

/** Options that each verb takes; "" is the demo. */
const OPTIONS = {
  "": ["url"],
  worker: ["url", "host"],
  call: ["url", "host", "timeout"],
  cast: ["url", "host", "timeout"],
  fanout: ["url", "timeout"],
};

/** Error for a command line that is wrong. */
class UsageError extends Error {}

function parse(args: string[]) {
  const text = { type: "string" } as const;
  const help = { type: "boolean", short: "h" } as const;
  const options = { help, host: text, url: text, timeout: text };
  try {
    return parseArgs({ args, options, allowPositionals: true });
  } catch (error) {
    const [sentence = ""] = (error as Error).message.split(". "); // the rest is on positional arguments
    throw new UsageError(sentence, { cause: error });
  }
}

const isVerb = (word: string): word is keyof typeof OPTIONS =>
  Object.hasOwn(OPTIONS, word);

/** Returns the verb named by `word`; throws if it does not take one of the given options. */
function verbOf(word: string, given: readonly string[]): keyof typeof OPTIONS {
  if (!isVerb(word)) throw new UsageError(`Unknown word "${word}"`);
  const other = given.find((option) => !OPTIONS[word].includes(option));
  if (!other) return word;
  throw new UsageError(`Unknown option --${other} without ${verbsWith(other)}`);
}

/** Names the verbs that take an option. */
function verbsWith(option: string): string {
  const verbs = Object.entries(OPTIONS).filter(([, of]) => of.includes(option));
  return verbs.map(([verb]) => verb).join(" or ");
}

function pair(word: string): [key: string, value: string] {
  const at = word.indexOf("=");
  if (at > 0) return [word.slice(0, at), word.slice(at + 1)];
  throw new UsageError(`Unknown word "${word}": give key=value`);
}

function milliseconds(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (Number(text) > 0) return Number(text);
  throw new UsageError(`--timeout "${text}" is no number of milliseconds`);
}

/** Splits a list of URLs: the nodes of a cluster. */
function urls(text: string): string[] {
  return text.split(/,(?=\w+:\/\/)/);
}

function given(value: string | undefined, otherwise: string): string {
  if (value) return value;
  throw new UsageError(otherwise);
}

async function run(args: string[]): Promise<void> {
  const { values: { help, ...values }, positionals } = parse(args);
  if (help) return console.log(HELP);
  const [word = "", ...words] = positionals;
  const verb = verbOf(word, Object.keys(values));
  const url = values.url ?? Deno.env.get("AMQP_URL");
  if (verb === "") return await demo(urls(url ?? "memory:compute"));
  const broker = urls(given(url, "No broker: set AMQP_URL or give --url"));
  if (verb === "worker") {
    if (words[0]) throw new UsageError(`Unknown word "${words[0]}"`);
    return await work(broker, values.host);
  }
  const [procedure, ...pairs] = words;
  await request({
    verb,
    procedure: given(procedure, `Nothing to ${verb}: give a procedure`),
    args: Object.fromEntries(pairs.map(pair)),
    url: broker,
    host: values.host,
    timeout: milliseconds(values.timeout),
  });
}

/** Formats an error as one line: its code if it has one, else its class, and its message. */
function lineOf(error: unknown): string {
  if (error instanceof UsageError) return `${error.message}; see --help`;
  if (!(error instanceof Error)) return String(error);
  const { name, message } = error;
  const hint = error instanceof ConnectionFailedError
    ? "; does RabbitMQ run there?"
    : "";
  return `${error instanceof RpcError ? error.code : name}: ${message}${hint}`;
}

/** Runs the command line; resolves with the exit code. */
export async function main(args: string[]): Promise<number> {
  try {
    await run(args);
    return 0;
  } catch (error) {
    console.error(lineOf(error).replaceAll(/\s*\n\s*/g, " / "));
    return error instanceof UsageError ? 2 : 1;
  }
}

// No Deno.exit(): what is left running would keep the process alive, and be noticed.
if (import.meta.main) Deno.exitCode = await main(Deno.args);

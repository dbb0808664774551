/** A caller process: sends one request that was typed on the command line. @module */
import {
  type ConnectionContext,
  createConnection,
  RpcError,
} from "../../mod.ts";
import { compute } from "./contract.ts";

/** A request as the command line describes it. */
export interface TypedRequest {
  readonly verb: "call" | "cast" | "fanout";
  readonly procedure: string;
  /** Arguments as typed, all of them texts. */
  readonly args: Readonly<Record<string, string>>;
  /** URLs of the broker, or of the nodes of a cluster. */
  readonly url: readonly string[];
  readonly host: string | undefined;
  /** Time limit in milliseconds. */
  readonly timeout: number | undefined;
}

/** Returns the contract's entry; undefined for an unknown name, which the worker will refuse. */
function entryOf(procedure: string) {
  return new Map(Object.entries(compute.procedures)).get(procedure);
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Parses an argument as JSON where the schema refuses a text: `name=42` stays a text, `upTo=200000` becomes a number. */
function argsOf({ procedure, args }: TypedRequest): Record<string, unknown> {
  const entry = entryOf(procedure);
  if (!entry || !("args" in entry)) return args;
  const refused = entry.args.safeParse(args).error?.issues ?? [];
  const keys = new Set(refused.map(({ path: [key] }) => key));
  return Object.fromEntries(
    Object.entries(args).map(([key, text]) => [
      key,
      keys.has(key) ? json(text) : text,
    ]),
  );
}

/** Returns a signal that fires at Ctrl-C; the verb then sends a cancellation to the worker. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  Deno.addSignalListener("SIGINT", () => {
    controller.abort(new RpcError("ABORTED", "Interrupted"));
  });
  return controller.signal;
}

/** Prints a result: texts as they are, other values as JSON, and `Done` if there is none. */
function show(value: unknown): void {
  if (value === null) console.log("Done");
  else if (typeof value === "string") console.log(value);
  else console.log(JSON.stringify(value, null, 2));
}

/** Sends the request by an untyped verb, since the procedure is known at run time only; the worker checks the arguments. */
async function ask(
  connection: ConnectionContext,
  typed: TypedRequest,
  signal: AbortSignal,
): Promise<void> {
  const { verb, procedure, host, timeout } = typed;
  const target = { topic: compute.topic, version: compute.version, host };
  const args = argsOf(typed);
  const options = { timeout, signal };
  if (verb === "cast") {
    await connection.cast(target, procedure, args, options);
    show("The broker has it");
  } else if (verb === "fanout") {
    await connection.fanoutCast(target, procedure, args, options);
    show("The broker has it, for every host that runs now");
  } else if ("yields" in (entryOf(procedure) ?? {})) {
    const items = connection.multicall(target, procedure, args, options);
    for await (const item of items) show(item);
  } else show(await connection.call(target, procedure, args, options));
}

/** Connects, sends the request and prints its result. */
export async function request(typed: TypedRequest): Promise<void> {
  const signal = interruption();
  const { errors } = compute; // untyped verbs have no contract from which to take the error classes
  const options = { timeout: 10_000, signal, errors };
  await using connection = await createConnection(typed.url, options);
  await ask(connection, typed, signal);
}

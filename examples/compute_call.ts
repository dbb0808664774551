/** A caller process: one verb, from words on the command line. @module */
import { type ConnectionContext, createConnection, RpcError } from "../mod.ts";
import { compute } from "./compute_contract.ts";

/** What the command line asks for. */
export interface Wish {
  readonly verb: "call" | "cast" | "fanout";
  readonly procedure: string;
  /** As typed. */
  readonly args: Readonly<Record<string, string>>;
  readonly url: string;
  readonly host: string | undefined;
  /** Milliseconds. */
  readonly timeout: number | undefined;
}

/** The contract's entry; undefined for a name that it does not list: that is for the worker to refuse. */
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

/** What was typed is text, except where the schema takes none: `name=42` stays a text, `upTo=200000` does not. */
function argsOf({ procedure, args }: Wish): Record<string, unknown> {
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

/** Fires at Ctrl-C, so that the worker is told that nobody reads any more. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  Deno.addSignalListener("SIGINT", () => {
    controller.abort(new RpcError("ABORTED", "Interrupted"));
  });
  return controller.signal;
}

/** A text as it is, anything else as JSON; a procedure without a result has none to show. */
function show(value: unknown): void {
  if (value === null) console.log("Done");
  else if (typeof value === "string") console.log(value);
  else console.log(JSON.stringify(value, null, 2));
}

/** The verbs are the untyped ones: the procedure is known only now, and it is the worker that judges the arguments. */
async function ask(
  connection: ConnectionContext,
  wish: Wish,
  signal: AbortSignal,
): Promise<void> {
  const { verb, procedure, host, timeout } = wish;
  const target = { topic: compute.topic, version: compute.version, host };
  const args = argsOf(wish);
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

/** Connects, asks, prints what comes back. */
export async function request(wish: Wish): Promise<void> {
  const signal = interruption();
  const { errors } = compute; // untyped verbs know no contract; from here they know its error classes
  const options = { timeout: 10_000, signal, errors };
  await using connection = await createConnection(wish.url, options);
  await ask(connection, wish, signal);
}

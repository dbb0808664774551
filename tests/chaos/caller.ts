/** The caller of the fault matrix: `caller.ts <settings as JSON>`. Sends a steady load on order and tells each outcome. */
import { type Client, createConnection, RpcError } from "../../mod.ts";
import { type Chaos, chaos } from "./contract.ts";
import { now, orders, type Outcome, tell, tellHealth } from "./history.ts";

/** Messages a second. */
export interface Rates {
  readonly cast: number;
  readonly call: number;
  readonly fanout: number;
  readonly stream: number;
}

/** How a caller is set up. */
export interface CallerSettings {
  readonly urls: string[];
  /** Name of its connections at the broker. */
  readonly publisherId: string;
  readonly topic: string;
  readonly queueType: "classic" | "quorum";
  /** Seconds. */
  readonly heartbeat: number;
  readonly rates: Rates;
  /** Milliseconds that a cast may take. */
  readonly castTimeout: number;
  /** Milliseconds that a call may take, and the silence between two items of a stream. */
  readonly callTimeout: number;
}

/** Options of the casts of a burst. */
export interface BurstOptions {
  /** Milliseconds. */
  readonly ttl?: number;
  /** Milliseconds; default: that of the other casts. */
  readonly timeout?: number;
  readonly host?: string;
  /** Another topic than that of the load. */
  readonly topic?: string;
}

/** What the runner may order. */
export type Order =
  | { readonly order: "load" | "stop" }
  | {
    readonly order: "burst";
    readonly count: number;
    readonly name: string;
    readonly method: "work" | "long" | "flaky";
    readonly args: Readonly<Record<string, unknown>>;
    readonly options: BurstOptions;
  };

const { urls, topic, rates, castTimeout, callTimeout, ...options }:
  CallerSettings = JSON.parse(Deno.args[0] ?? "{}");
const ITEMS = 20;

/** What has not settled. */
const open = new Map<string, Promise<void>>();
type Verb = Outcome["verb"];

/** Asks, and tells what came of it; `ask` gives what is wrong with its answer, and tells of each sign of life. */
function sent(
  verb: Verb,
  id: string,
  timeout: number,
  ask: (alive: () => void) => Promise<string | undefined>,
  told: Partial<Outcome> = {},
): void {
  const at = now();
  let due = at + timeout;
  const alive = () => void (due = now() + timeout);
  const end = (rest: Partial<Outcome>) =>
    tell({ t: "out", verb, id, at, settled: now(), due, ...told, ...rest });
  const asked = ask(alive).then(
    (wrong) => end(wrong === undefined ? {} : { wrong }),
    (error) =>
      end(
        error instanceof RpcError
          ? { code: error.code, inDoubt: error.inDoubt }
          : { code: "?", wrong: String(error) },
      ),
  );
  open.set(id, asked.finally(() => open.delete(id)));
}

async function count(
  client: Client<Chaos>,
  id: string,
  alive: () => void,
): Promise<string | undefined> {
  const args = { id, items: ITEMS };
  let next = 0;
  for await (
    const item of client.multicall("count", args, { timeout: callTimeout })
  ) {
    alive();
    if (item !== next++) return `item ${item} in place of ${next - 1}`;
  }
  return next === ITEMS ? undefined : `${next} items of ${ITEMS}`;
}

/** One message of a kind. */
function send(client: Client<Chaos>, verb: keyof Rates, n: number): void {
  const id = `${verb}-${n}`;
  const ms = 20 + n % 5 * 20; // so that a worker that dies has some of it in hand
  if (verb === "cast") {
    sent(verb, id, castTimeout, async () => {
      await client.cast("work", { id, ms }, { timeout: castTimeout });
      return undefined;
    });
  } else if (verb === "call") {
    const idempotent = n % 2 === 1;
    const name = idempotent ? "again" : "work";
    sent(verb, id, callTimeout, async () => {
      const answer = await client.call(name, { id, ms }, {
        timeout: callTimeout,
      });
      return answer === id ? undefined : `the answer of ${answer}`;
    }, { idempotent });
  } else if (verb === "fanout") {
    sent(verb, id, castTimeout, async () => {
      await client.fanoutCast("tell", { id }, { timeout: castTimeout });
      return undefined;
    });
  } else {
    sent(verb, id, callTimeout, (alive) => count(client, id, alive));
  }
}

/** Sends at the rates until aborted, whatever the answers do. */
function load(client: Client<Chaos>): () => void {
  const began = performance.now();
  const sentOf = new Map<keyof Rates, number>();
  const timer = setInterval(() => {
    const seconds = (performance.now() - began) / 1_000;
    for (const verb of ["cast", "call", "fanout", "stream"] as const) {
      let n = sentOf.get(verb) ?? 0;
      while (n < seconds * rates[verb]) send(client, verb, n++);
      sentOf.set(verb, n);
    }
  }, 10);
  return () => clearInterval(timer);
}

/** Casts of a burst that are under way at most: awaiting them is what slows a producer down. */
const UNDER_WAY = 500;

/** Many casts, as fast as the broker takes them. */
async function burst(
  { count, name, method, args, options: given }: Order & { order: "burst" },
): Promise<void> {
  const { topic: other = topic, ...options } = given;
  const client = connection.client(chaos(other));
  const { ttl, timeout = castTimeout } = options;
  for (let n = 0; n < count; n++) {
    const id = `${name}-${n}`;
    sent("burst", id, timeout, async () => {
      await client.cast(method, { ...args, id }, { ...options, timeout });
      return undefined;
    }, ttl === undefined ? {} : { ttl });
    await open.get(`${name}-${n - UNDER_WAY}`);
  }
}

await using connection = await createConnection(urls, options);
for (
  const name of ["disconnected", "connected", "blocked", "unblocked"] as const
) {
  connection.addEventListener(name, () => {
    tell({ t: "event", at: now(), name });
  });
}
const client = connection.client(chaos(topic));
tellHealth();
tell({ t: "ready" });

/** Sends no more, and waits somewhat longer than anything may take. */
async function stop(): Promise<void> {
  const last = Math.max(castTimeout, callTimeout) + 5_000;
  const late = new Promise((resolve) => setTimeout(resolve, last));
  await Promise.race([Promise.all(open.values()), late]);
  tell({ t: "done", open: [...open.keys()] });
}

let end = () => {};
await orders((line) => {
  const order: Order = JSON.parse(line);
  if (order.order === "load") end = load(client);
  else if (order.order === "burst") void burst(order);
  else end(), void stop();
});

/** What peers are put to, and the figures that come of it. */
import type { Order, Told } from "./orders.ts";
import type { Peer } from "./peer.ts";
import type { Promises } from "./peers.ts";

/** A client and its servers. */
export interface Pair {
  readonly client: Peer;
  readonly servers: readonly Peer[];
}

/** What one run of a workload gave. */
export interface Figures {
  /** Calls, casts, fanouts or items a second. */
  readonly rate: number;
  /** Milliseconds. */
  readonly p50?: number | undefined;
  readonly p99?: number | undefined;
  /** Milliseconds of processor time for 1000 of them. */
  readonly clientCpu: number;
  readonly serverCpu: number;
}

/** One thing to do. */
export interface Workload {
  readonly name: string;
  /** Whose promises hold for its messages. */
  readonly verb: keyof Promises;
  /** Servers that take part. */
  readonly servers: number;
  /** Whether the client tells when it is done, whoever serves it. */
  readonly answered: boolean;
  /** So long that it warms up by itself. */
  readonly long?: boolean;
  /** Does it for about so long; undefined where the peer cannot; `rate` is what it did before, a second. */
  run(pair: Pair, ms: number, rate: number): Promise<Figures | undefined>;
}

/** A run with a failed request is no result. */
class FailedRun extends Error {}

function whole(told: Told): Told {
  if (!told.failed) return told;
  const why = told.error ?? "no reason told";
  throw new FailedRun(`${told.failed} requests failed: ${why}`);
}

const cpuOf = (peers: readonly Peer[]) =>
  peers.reduce((sum, { cpu }) => sum + cpu, 0);

/** Processor time of both ends while something is done so many times. */
async function measured(
  { client, servers }: Pair,
  work: () => Promise<{ done: number; ms: number } & Partial<Figures>>,
): Promise<Figures> {
  const [clientBefore, serverBefore] = [client.cpu, cpuOf(servers)];
  const { done, ms, ...rest } = await work();
  return {
    ...rest,
    rate: done * 1_000 / ms,
    clientCpu: (client.cpu - clientBefore) * 1_000 / done,
    serverCpu: (cpuOf(servers) - serverBefore) * 1_000 / done,
  };
}

/** Calls with so many in flight. */
export function calls(
  inFlight: number,
  bytes: number,
  topics = 1,
): Workload["run"] {
  return (pair, ms) =>
    measured(pair, async () => {
      const more = topics > 1 ? { topics } : {}; // of Warren alone
      const order: Order = { do: "call", inFlight, ms, bytes, ...more };
      const told = whole(await pair.client.ask(order));
      const { calls: done = 0, ms: took = ms, p50, p99 } = told;
      if (done === 0) throw new FailedRun("no call was answered");
      return { done, ms: took, p50, p99 };
    });
}

/** Casts or fanouts until all servers have handled them. */
function sends(verb: "cast" | "fanout", inFlight: number): Workload["run"] {
  return (pair, ms, rate) =>
    sent(verb, inFlight, Math.max(50, Math.round(rate * ms / 1_000)))(pair, ms);
}

/** So many casts or fanouts. */
export function sent(
  verb: "cast" | "fanout",
  inFlight: number,
  count: number,
): (pair: Pair, ms: number) => Promise<Figures | undefined> {
  return async (pair, ms) => {
    const { client, servers } = pair;
    for (const server of servers) await server.ask({ do: "count", count });
    let able = true;
    const figures = await measured(pair, async () => {
      const began = performance.now();
      const told = await client.ask({ do: verb, count, inFlight, bytes: 300 });
      able = !told.unsupported;
      if (!able) return { done: 1, ms };
      whole(told);
      await Promise.all(servers.map((server) => server.told()));
      return { done: count, ms: performance.now() - began };
    });
    return able ? figures : undefined;
  };
}

/** One stream. */
function items(count: number): Workload["run"] {
  return async (pair) => {
    let able = true;
    const figures = await measured(pair, async () => {
      const told = await pair.client.ask({ do: "stream", count });
      able = !told.unsupported;
      const { items: done = 1, ms = 1 } = whole(told);
      return { done, ms };
    });
    return able ? figures : undefined;
  };
}

/** Servers of a fanout. */
const CROWD = 8;
const answered = { verb: "call", servers: 1, answered: true } as const;

/** All of them, in the order of the table. */
export const workloads: readonly Workload[] = [
  { name: "call @1", ...answered, run: calls(1, 300) },
  { name: "call @64", ...answered, run: calls(64, 300) },
  { name: "call @512", ...answered, run: calls(512, 300) },
  { name: "call @64, 16 kB", ...answered, run: calls(64, 16_000) },
  { name: "call @8, 1 MB", ...answered, run: calls(8, 1_000_000) },
  {
    name: "casts",
    verb: "cast",
    servers: 1,
    answered: false,
    run: sends("cast", 512),
  },
  { name: "stream", ...answered, long: true, run: items(100_000) },
  {
    name: "fanout to 8",
    verb: "fanout",
    servers: CROWD,
    answered: false,
    run: sends("fanout", 64),
  },
];

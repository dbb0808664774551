/** What a call of Warren costs as the fleet, the topics and the calls in flight grow. */
import { Peer } from "./peer.ts";
import { plans } from "./peers.ts";
import { median, spread } from "./statistics.ts";
import { columns } from "./table.ts";
import { calls, type Figures, type Pair, sent } from "./workloads.ts";

/** How it is run. */
export interface GrowthPlan {
  readonly url: string;
  readonly rounds: number;
  readonly ms: number;
  readonly progress: (line: string) => void;
}

/** One size of one thing that grows. */
interface Size {
  readonly what: string;
  readonly size: number;
  readonly workers: number;
  readonly topics: number;
  readonly inFlight: number;
  /** So many casts in place of calls. */
  readonly casts?: number;
}

/** Of one size in one round. */
interface Found extends Figures {
  /** The most MiB that a process had. */
  readonly clientPeak: number;
  readonly serverPeak: number;
}

const usual = { workers: 1, topics: 1, inFlight: 64 };
const sizes: readonly Size[] = [
  ...[1, 2, 4, 8].map((size) => ({
    ...usual,
    what: "workers",
    size,
    workers: size,
  })),
  ...[1, 10, 100, 1000].map((size) => ({
    ...usual,
    what: "topics",
    size,
    topics: size,
  })),
  ...[1, 64, 512, 1_000, 10_000].map((size) => ({
    ...usual,
    what: "in flight",
    size,
    inFlight: size,
  })),
  ...[10_000, 100_000, 1_000_000].map((size) => ({
    ...usual,
    what: "casts",
    size,
    inFlight: 512,
    casts: size,
  })),
];

/** Milliseconds to warm up, and more for each topic: each has a contract of its own. */
const WARM = 3_000;
const TOPIC = 10;

/** Warren's processes for that size. */
async function start(url: string, size: Size): Promise<Pair> {
  const [warren] = plans;
  if (!warren) throw new Error("Warren is no peer");
  const topic = `bench-growth-${crypto.randomUUID().slice(0, 8)}`;
  const one = (role: "server" | "client") => {
    const { args, ...rest } = warren.command(role, topic, url);
    return Peer.start({ ...rest, args: [...args, `${size.topics}`] });
  };
  const servers: Peer[] = [];
  for (let n = 0; n < size.workers; n++) servers.push(await one("server"));
  return { servers, client: await one("client") };
}

async function once(
  { url, ms }: GrowthPlan,
  size: Size,
): Promise<Found | undefined> {
  const pair = await start(url, size);
  const run = size.casts === undefined
    ? calls(size.inFlight, 300, size.topics)
    : sent("cast", size.inFlight, size.casts);
  try {
    await calls(size.inFlight, 300, size.topics)(
      pair,
      WARM + TOPIC * size.topics,
      0,
    );
    const figures = await run(pair, ms, 0);
    const serverPeak = Math.max(...pair.servers.map(({ peak }) => peak));
    const clientPeak = pair.client.peak;
    return figures && { ...figures, clientPeak, serverPeak };
  } finally {
    for (const peer of [pair.client, ...pair.servers]) {
      await peer[Symbol.asyncDispose]();
    }
  }
}

/** All sizes in each round; the cost is the processor time of both ends. */
export async function growth(plan: GrowthPlan): Promise<string[]> {
  const found = sizes.map((): Found[] => []);
  for (let round = 0; round < plan.rounds; round++) {
    plan.progress(`round ${round + 1} of ${plan.rounds}`);
    for (const [at, size] of sizes.entries()) {
      const figures = await once(plan, size);
      if (figures) found[at]?.push(figures);
    }
  }
  const rows = sizes.map(({ what, size }, at) => {
    const rounds = found[at] ?? [];
    const { median: rate, least, most } = spread(
      rounds.map(({ rate }) => rate),
    );
    const cost = (of: "clientCpu" | "serverCpu") =>
      median(rounds.map((figures) => figures[of])).toFixed(1);
    const peak = (of: "clientPeak" | "serverPeak") =>
      median(rounds.map((figures) => figures[of])).toFixed(0);
    const range = [rate, least, most].map(Math.round);
    return [
      `${what}: ${size}`,
      `${range[0]} (${range[1]}–${range[2]})`,
      cost("clientCpu"),
      cost("serverCpu"),
      peak("clientPeak"),
      peak("serverPeak"),
    ];
  });
  const head = [
    "growth",
    "a second",
    "CPU ms/1000 client",
    "servers",
    "peak MiB client",
    "server",
  ];
  return columns([head, ...rows]);
}

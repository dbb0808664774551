/** Rounds: in each, every peer does every workload, in turn, so that what disturbs the machine disturbs all alike. */
import { Peer } from "./peer.ts";
import type { PeerPlan } from "./peers.ts";
import { calls, type Figures, type Pair, type Workload } from "./workloads.ts";

/** What is run. */
export interface Plan {
  readonly url: string;
  readonly peers: readonly PeerPlan[];
  readonly workloads: readonly Workload[];
  readonly rounds: number;
  /** Milliseconds of each workload; casts and fanouts are as many as the peer did in that time before. */
  readonly ms: number;
  /** Told of each round. */
  readonly progress: (line: string) => void;
}

/** What one peer did of one workload, by the number of the round; one in which it failed is missing. */
export type Rounds = (Figures | undefined)[];

/** By peer and workload. */
export type Results = Map<string, Map<string, Rounds>>;

/** What the processes took, for each peer and round. */
export interface Costs {
  readonly coldStart: number[];
  /** MiB of the client and of a server, the most until they have made calls of 300 bytes with 64 in flight. */
  readonly client: number[];
  readonly server: number[];
}

/** All that was measured. */
export interface Measured {
  readonly results: Results;
  readonly costs: Map<string, Costs>;
  /** What failed, and why. */
  readonly failures: string[];
}

/** Casts or fanouts a second that a peer is first taken to do: few, since it may be slow. */
const GUESS = 500;
/** Milliseconds to warm up. */
const WARM = 2_000;

interface Runner {
  readonly plan: PeerPlan;
  readonly pair: Pair;
}

async function start(
  plan: PeerPlan,
  url: string,
  servers: number,
): Promise<Runner> {
  const word = plan.name.toLowerCase().replaceAll(/[^a-z]+/g, "-");
  const topic = `bench-${word}-${crypto.randomUUID().slice(0, 8)}`;
  const started: Peer[] = [];
  for (let n = 0; n < (plan.alone ? 0 : servers); n++) {
    started.push(await Peer.start(plan.command("server", topic, url)));
  }
  const client = await Peer.start(plan.command("client", topic, url));
  return { plan, pair: { client, servers: started } };
}

async function end({ pair }: Runner): Promise<void> {
  await pair.client[Symbol.asyncDispose]();
  for (const server of pair.servers) await server[Symbol.asyncDispose]();
}

/** Notes and goes on: what fails in one is no reason to learn nothing of the others. */
async function noted<T>(
  what: string,
  { failures }: Measured,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    failures.push(`${what}: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

const entry = <K, V>(map: Map<K, V>, key: K, make: () => V): V => {
  const value = map.get(key) ?? make();
  map.set(key, value);
  return value;
};

async function perform(
  { plan, pair }: Runner,
  { name, long, run }: Workload,
  { ms }: Plan,
  round: number,
  measured: Measured,
): Promise<void> {
  const of = entry(
    measured.results,
    plan.name,
    (): Map<string, Rounds> => new Map(),
  );
  const figures = entry(of, name, (): Rounds => []);
  const before = figures.findLast((each) => each !== undefined)?.rate;
  const what = `${plan.name}, ${name}, round ${round + 1}`;
  figures[round] = await noted(what, measured, async () => {
    // New processes in each round: what is measured is not how they warm up.
    if (long) return await run(pair, ms, GUESS);
    const warm = await run(pair, WARM, before ?? GUESS);
    return warm && await run(pair, ms, warm.rate);
  });
}

function note({ plan, pair }: Runner, { costs }: Measured): void {
  const { coldStart, peak } = pair.servers[0] ?? pair.client; // which is both, where it is alone
  const client = pair.client.peak;
  const of = entry(costs, plan.name, () => ({
    coldStart: [],
    client: [],
    server: [],
  }));
  of.coldStart.push(coldStart);
  of.client.push(client);
  of.server.push(peak);
}

/** Workload after which memory is measured. */
const COSTS_AFTER = "call @64";

async function costs(
  runners: readonly Runner[],
  measured: Measured,
): Promise<void> {
  for (const runner of runners) {
    const what = `${runner.plan.name}, costs`;
    await noted(
      what,
      measured,
      () => Promise.try(() => note(runner, measured)),
    );
  }
}

const BIG = /[kM]B$/;

/** Bodies that are large come last: they would hide what the others need. */
function ordered(workloads: readonly Workload[]): Workload[] {
  const big = ({ name }: Workload) => BIG.test(name);
  return [
    ...workloads.filter((each) => !big(each)),
    ...workloads.filter(big),
  ];
}

/** With all peers alive at once, that a few servers have each. */
async function together(
  plan: Plan,
  workloads: readonly Workload[],
  servers: number,
  round: number,
  measured: Measured,
): Promise<void> {
  const all: Runner[] = [];
  const runners: Runner[] = []; // those that began well
  try {
    for (const peer of plan.peers) {
      const what = `${peer.name}, start of round ${round + 1}`;
      await noted(what, measured, async () => {
        const runner = await start(peer, plan.url, servers);
        all.push(runner);
        await calls(64, 300)(runner.pair, WARM, GUESS);
        runners.push(runner);
      });
    }
    // Every runner has made calls with 64 in flight to warm up, also where they are not measured.
    const measuring = workloads.some(({ name }) => name === COSTS_AFTER);
    if (servers === 1 && !measuring) await costs(runners, measured);
    for (const workload of ordered(workloads)) {
      for (const runner of runners) {
        if (runner.plan.alone && !workload.answered) continue;
        await perform(runner, workload, plan, round, measured);
      }
      if (workload.name === COSTS_AFTER) await costs(runners, measured);
    }
  } finally {
    await Promise.all(all.map(end));
  }
}

/** Runs all rounds. */
export async function rounds(plan: Plan): Promise<Measured> {
  const measured: Measured = {
    results: new Map(),
    costs: new Map(),
    failures: [],
  };
  for (let round = 0; round < plan.rounds; round++) {
    plan.progress(`round ${round + 1} of ${plan.rounds}`);
    const turn = round % plan.peers.length;
    const peers = [...plan.peers.slice(turn), ...plan.peers.slice(0, turn)];
    const one = plan.workloads.filter(({ servers }) => servers === 1);
    await together({ ...plan, peers }, one, 1, round, measured);
    for (const workload of plan.workloads) {
      if (workload.servers === 1) continue;
      for (const peer of peers.filter(({ alone }) => !alone)) { // a crowd at a time
        const alone = { ...plan, peers: [peer] };
        await together(alone, [workload], workload.servers, round, measured);
      }
    }
  }
  return measured;
}

/** What Warren is to reach, and whether it does. */
import type { Costs, Measured, Rounds } from "./rounds.ts";
import type { PeerPlan } from "./peers.ts";
import { median, ratios, spread } from "./statistics.ts";
import type { Figures } from "./workloads.ts";

/** A bound of a ratio. */
type Bound = { readonly least: number } | { readonly most: number };

/** One goal: Warren's figure, divided by that of another. */
type Goal = Bound & {
  readonly workload: string;
  /** Warren with all promises, or without. */
  readonly of: typeof ALL | typeof ONCE;
  /** The name of a peer, or the best of some. */
  readonly against: string | ((peer: PeerPlan) => boolean);
  /** Default: the rate. */
  readonly figure?: Figure;
};

/** A figure of a workload, and its name in the table. */
interface Figure {
  readonly what: string;
  readonly value: (figures: Figures) => number | undefined;
}

const rate: Figure = { what: "rate", value: ({ rate }) => rate };
const clientCpu: Figure = {
  what: "client CPU",
  value: ({ clientCpu }) => clientCpu,
};

const ALL = "Warren";
const ONCE = "Warren, at-most-once";
const RAW = "amqplib, frames";
const LIMIT = "limit, frames";
const NESTJS = "NestJS";
const RELIABLE = "Moleculer, reliable";
const framework = ({ kind }: PeerPlan) => kind === "framework";
const acknowledging = (peer: PeerPlan) =>
  framework(peer) && peer.promises.cast.acknowledges === "after";

const goals: readonly Goal[] = [
  { workload: "call @1", of: ALL, against: NESTJS, least: 1.1 },
  { workload: "call @1", of: ONCE, against: framework, least: 1.1 },
  ...["call @64", "call @512"].flatMap((workload): Goal[] => [
    { workload, of: ALL, against: RELIABLE, least: 1.5 },
    { workload, of: ONCE, against: framework, least: 1.2 },
  ]),
  { workload: "casts", of: ALL, against: acknowledging, least: 1.3 },
  { workload: "casts", of: ONCE, against: framework, least: 1 },
  { workload: "fanout to 8", of: ONCE, against: framework, least: 1 },
  { workload: "stream", of: ALL, against: framework, least: 1.2 },
  { workload: "call @64", of: ALL, against: LIMIT, least: 0.75 },
  {
    workload: "call @64",
    of: ALL,
    against: RAW,
    figure: clientCpu,
    most: 0.5,
  },
];

/** Goals of the processes, to NestJS. */
const costGoals: readonly (Bound & {
  readonly what: string;
  readonly value: (costs: Costs) => readonly number[];
})[] = [
  { what: "cold start", value: ({ coldStart }) => coldStart, most: 0.4 },
  {
    what: "peak memory of both ends, call @64",
    value: ({ client, server }) =>
      client.map((peak, round) => peak + (server[round] ?? NaN)),
    most: 1,
  },
];

const roundsOf = ({ results }: Measured, peer: string, workload: string) =>
  results.get(peer)?.get(workload) ?? [];

/** Of several the one whose median rate is the highest. */
export function best(
  measured: Measured,
  workload: string,
  peers: readonly PeerPlan[],
): string | undefined {
  const rateOf = (peer: PeerPlan) =>
    median(rates(roundsOf(measured, peer.name, workload)));
  const able = peers.filter((peer) => rateOf(peer) > 0);
  return able.sort((a, b) => rateOf(b) - rateOf(a))[0]?.name;
}

/** The rates of the rounds that there were. */
export function rates(rounds: Rounds): number[] {
  return rounds.flatMap((figures) => figures ? [figures.rate] : []);
}

const two = (number: number) => number.toFixed(2);

/** One line: the median of the ratios with the least and the most, the bound, and whether it is kept. */
function line(name: string, quotients: readonly number[], bound: Bound) {
  const { median, least, most } = spread(quotients);
  const [wanted, holds] = "least" in bound
    ? [`≥ ${bound.least}`, median >= bound.least]
    : [`≤ ${bound.most}`, median <= bound.most];
  const found = Number.isNaN(median)
    ? "-"
    : `${two(median)} (${two(least)}–${two(most)})`;
  const verdict = Number.isNaN(median) ? "not measured" : holds ? "yes" : "NO";
  return `${name.padEnd(64)} ${found.padEnd(18)} ${wanted} ×  ${verdict}`;
}

/** One line for each goal. */
export function goalLines(
  measured: Measured,
  peers: readonly PeerPlan[],
): string[] {
  const lines = goals.map((goal) => {
    const { workload, of, against, figure: { what, value } = rate } = goal;
    const other = typeof against === "string"
      ? against
      : best(measured, workload, peers.filter(against));
    const mine = roundsOf(measured, of, workload);
    const theirs = roundsOf(measured, other ?? "", workload);
    const name = `${of}: ${workload}, ${what}, to ${other ?? "nobody"}`;
    return line(name, ratios(mine, theirs, value), goal);
  });
  return [...lines, ...costLines(measured)];
}

function costLines({ costs }: Measured): string[] {
  const [mine, theirs] = [costs.get(ALL), costs.get(NESTJS)];
  if (!mine || !theirs) return [];
  return costGoals.map((goal) => {
    const { what, value } = goal;
    const quotients = ratios(value(mine), value(theirs), (each) => each);
    return line(`${ALL}: ${what}, to ${NESTJS}`, quotients, goal);
  });
}

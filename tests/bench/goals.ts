/** What Warren is to reach, and whether it does. */
import type { Measured, Rounds } from "./rounds.ts";
import type { PeerPlan } from "./peers.ts";
import { median, ratios, spread } from "./statistics.ts";
import type { Figures } from "./workloads.ts";

/** One goal: Warren's figure, divided by that of another. */
interface Goal {
  readonly workload: string;
  /** The name of a peer, or the best of some. */
  readonly against: string | ((peer: PeerPlan) => boolean);
  readonly figure: (figures: Figures) => number | undefined;
  /** In the table. */
  readonly what: string;
  readonly least?: number;
  readonly most?: number;
}

const rate = ({ rate }: Figures) => rate;
const framework = ({ name, framework }: PeerPlan) =>
  framework === true && name !== "Warren";
const confirming = (peer: PeerPlan) =>
  framework(peer) && peer.confirms === true;

const RAW = "amqplib, frames";
const LIMIT = "limit, frames";
const calls = (...inFlight: number[]) =>
  inFlight.map((number) => `call @${number}`);

const goals: readonly Goal[] = [
  {
    workload: "call @1",
    against: framework,
    figure: rate,
    what: "rate",
    least: 1.3,
  },
  {
    workload: "call @1",
    against: framework,
    figure: ({ p99 }) => p99,
    what: "p99",
    most: 1,
  },
  {
    workload: "call @64",
    against: "NestJS",
    figure: rate,
    what: "rate",
    least: 2,
  },
  ...calls(64, 512).flatMap((workload) => [
    { workload, against: RAW, figure: rate, what: "rate", least: 0.85 },
    { workload, against: LIMIT, figure: rate, what: "rate", least: 0.6 },
  ]),
  {
    workload: "call @512",
    against: framework,
    figure: rate,
    what: "rate",
    least: 1.5,
  },
  {
    workload: "casts",
    against: confirming,
    figure: rate,
    what: "rate",
    least: 1.5,
  },
  {
    workload: "fanout to 8",
    against: framework,
    figure: rate,
    what: "rate",
    least: 1.3,
  },
  {
    workload: "call @64",
    against: RAW,
    figure: ({ clientCpu }) => clientCpu,
    what: "client CPU",
    most: 1.3,
  },
];

/** Whether a ratio is what it is to be. */
function verdict(
  ratio: number,
  { least, most }: Pick<Goal, "least" | "most">,
): string {
  const wanted = least === undefined ? `≤ ${most}` : `≥ ${least}`;
  const holds = least === undefined ? ratio <= Number(most) : ratio >= least;
  if (Number.isNaN(ratio)) return `${wanted} ×  not measured`;
  return `${wanted} ×  ${holds ? "yes" : "NO"}`;
}

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

/** One line for each goal. */
export function goalLines(
  measured: Measured,
  peers: readonly PeerPlan[],
): string[] {
  const lines = goals.map((goal) => {
    const { workload, against, figure, what } = goal;
    const other = typeof against === "string"
      ? against
      : best(measured, workload, peers.filter(against));
    const mine = roundsOf(measured, "Warren", workload);
    const theirs = roundsOf(measured, other ?? "", workload);
    const { median, least, most } = spread(ratios(mine, theirs, figure));
    const name = `${workload}, ${what}, to ${other ?? "nobody"}`;
    const range = Number.isNaN(median)
      ? "-"
      : `${two(median)} (${two(least)}–${two(most)})`;
    return `${name.padEnd(48)} ${range.padEnd(18)} ${verdict(median, goal)}`;
  });
  return [...lines, ...costLines(measured)];
}

function costLines({ costs }: Measured): string[] {
  const [mine, theirs] = [costs.get("Warren"), costs.get("NestJS")];
  if (!mine || !theirs) return [];
  const line = (
    what: string,
    of: "client" | "server" | "coldStart",
    most = 1,
  ) => {
    const ratio = median(ratios(mine[of], theirs[of], (each) => each));
    return `${`${what}, to NestJS`.padEnd(48)} ${two(ratio).padEnd(18)} ${
      verdict(ratio, { most })
    }`;
  };
  return [
    line("peak memory of the client", "client"),
    line("peak memory of the server", "server"),
    line("cold start of the server", "coldStart", 0.5),
  ];
}

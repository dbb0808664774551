/** The table of what was measured. */
import { best, rates } from "./goals.ts";
import type { Delivery, PeerPlan } from "./peers.ts";
import type { Measured } from "./rounds.ts";
import { median, ratios, spread } from "./statistics.ts";
import type { Figures, Workload } from "./workloads.ts";

const whole = (figure: number) => Math.round(figure).toLocaleString("en");
const ratio = (figure: number) => Number.isNaN(figure) ? "" : figure.toFixed(2);
const ms = (figures: readonly number[]) =>
  figures.length === 0 ? "" : median(figures).toFixed(2);

const HEAD = [
  "peer",
  "promises",
  "a second",
  "(least–most)",
  "to limit",
  "to amqplib",
  "to best framework",
  "p50 ms",
  "p99 ms",
  "CPU ms/1000 client",
  "server",
];

/** A promise in few words, for a line of a table. */
export function promiseOf({ acknowledges, confirms }: Delivery): string {
  const acks = acknowledges === "never"
    ? "no acks"
    : `acks ${acknowledges} handler`;
  return `${acks}, ${confirms ? "confirms" : "no confirms"}`;
}

/** Columns of the same width; those of text begin on the left. */
export function columns(
  rows: readonly (readonly string[])[],
  text = 1,
): string[] {
  const widths = (rows[0] ?? []).map((_, at) =>
    Math.max(...rows.map((row) => row[at]?.length ?? 0))
  );
  return rows.map((row) =>
    row.map((cell, at) =>
      at < text ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)
    ).join("  ").trimEnd()
  );
}

const present = (figures: (number | undefined)[]) =>
  figures.filter((each) => each !== undefined);

function row(
  measured: Measured,
  peer: PeerPlan,
  { name, verb }: Pick<Workload, "name" | "verb">,
  framework: string | undefined,
): string[] | undefined {
  const of = (peer = "") => measured.results.get(peer)?.get(name) ?? [];
  const rounds = of(peer.name);
  const there = rounds.filter((each) => each !== undefined);
  if (there.length === 0) return undefined;
  const { median: middle, least, most } = spread(rates(rounds));
  const to = (other?: string) =>
    ratio(median(ratios(rounds, of(other), ({ rate }) => rate)));
  const each = (figure: (figures: Figures) => number | undefined) =>
    present(there.map(figure));
  return [
    peer.name,
    promiseOf(peer.promises[verb]),
    whole(middle),
    `(${whole(least)}–${whole(most)})`,
    to("limit, frames"),
    to("amqplib, frames"),
    to(framework),
    ms(each(({ p50 }) => p50)),
    ms(each(({ p99 }) => p99)),
    ms(each(({ clientCpu }) => clientCpu)),
    ms(each(({ serverCpu }) => serverCpu)),
  ];
}

/** One table for each workload. */
export function tables(
  measured: Measured,
  peers: readonly PeerPlan[],
  workloads: readonly Workload[],
): string[] {
  const others = peers.filter(({ kind }) => kind === "framework");
  return workloads.flatMap((workload) => {
    const framework = best(measured, workload.name, others);
    const rows = peers.flatMap((peer) => {
      const cells = row(measured, peer, workload, framework);
      return cells ? [cells] : [];
    });
    return ["", workload.name, ...columns([HEAD, ...rows], 2)];
  });
}

/** What the processes took. */
export function costTable(
  { costs }: Measured,
  peers: readonly PeerPlan[],
): string[] {
  const rows = peers.flatMap(({ name, promises }) => {
    const of = costs.get(name);
    if (!of) return [];
    const { coldStart, client, server } = of;
    return [[
      name,
      promiseOf(promises.call),
      ...[coldStart, client, server].map((figures) => whole(median(figures))),
    ]];
  });
  const head = [
    "peer",
    "promises of calls",
    "cold start ms",
    "peak MiB client",
    "server",
  ];
  const what = "processes: memory after call @64";
  return ["", what, ...columns([head, ...rows], 2)];
}

/** Whether the limit is one: bare, it must be well ahead of amqplib. */
export function limitLines({ results }: Measured): string[] {
  const of = (name: string) => results.get(name)?.get("call @64") ?? [];
  const ahead = median(
    ratios(of("limit, bare"), of("amqplib, bare"), ({ rate }) => rate),
  );
  if (Number.isNaN(ahead)) return [];
  const valid = ahead >= 1.5 ? "the limit holds" : "limit not valid";
  return ["", `${valid}: bare, ${ahead.toFixed(2)} × amqplib at call @64`];
}

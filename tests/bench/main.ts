/**
 * `deno task bench`: Warren beside other frameworks, beside amqplib without one, and beside what RabbitMQ allows at all,
 * in one run on a broker of its own. Arguments:
 *
 *     --rounds 5           of all that is measured
 *     --ms 2000            of each workload
 *     --peers "Warren,Warren, at-most-once,NestJS"   these, by comma; default: all that can be run here
 *     --workloads "call @64"   these, by comma; default: all
 *     --chart bench.svg    writes the chart there
 *     --growth             Warren alone: what a call costs as workers, topics and calls in flight grow
 *
 * Uses `AMQP_URL` where that is set. Every figure is the median of the rounds; ratios are medians of the rounds' ratios.
 */
import { parseArgs } from "node:util";
import { privateBroker, rabbitmqServer } from "../setup/broker.ts";
import { versionOf } from "../setup/rabbitmq/versions.ts";
import { chart } from "./chart.ts";
import { chosen } from "./chosen.ts";
import { goalLines } from "./goals.ts";
import { growth } from "./growth.ts";
import { forgetLimit, type PeerPlan, plans } from "./peers.ts";
import { rounds } from "./rounds.ts";
import { costTable, limitLines, tables } from "./table.ts";
import { workloads } from "./workloads.ts";

const { values: args } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    ms: { type: "string", default: "2000" },
    peers: { type: "string" },
    workloads: { type: "string" },
    chart: { type: "string" },
    growth: { type: "boolean", default: false },
  },
});

function number(name: "rounds" | "ms"): number {
  const given = Number(args[name]);
  if (Number.isInteger(given) && given > 0) return given;
  throw new Error(`--${name} ${args[name]}: give a whole number above 0`);
}

/** Says of each what it promises, and of those that cannot be run, why. */
async function able(peers: readonly PeerPlan[]): Promise<PeerPlan[]> {
  const found: PeerPlan[] = [];
  for (const peer of peers) {
    const missing = await peer.missing();
    console.log(
      `${peer.name}: ${missing ? `not run: ${missing}` : peer.terms}`,
    );
    if (!missing) found.push(peer);
  }
  return found;
}

async function machine(): Promise<string> {
  const cpu = await Deno.readTextFile("/proc/cpuinfo").catch(() => "");
  const model = /model name\s*:\s*(.*)/.exec(cpu)?.[1] ?? "unknown";
  const { deno } = Deno.version;
  return `${navigator.hardwareConcurrency} × ${model}, Deno ${deno}`;
}

async function main(url: string): Promise<void> {
  const plan = {
    url,
    rounds: number("rounds"),
    ms: number("ms"),
    workloads: chosen(workloads, args.workloads),
    progress: (line: string) => console.error(line),
  };
  const date = new Date().toISOString().slice(0, 10);
  const caption = `${date}, ${await machine()}, ${plan.rounds} rounds`;
  console.log(caption);
  if (args.growth) return console.log((await growth(plan)).join("\n"));
  const peers = await able(chosen(plans, args.peers));
  const measured = await rounds({ ...plan, peers });
  const lines = [
    ...tables(measured, peers, plan.workloads),
    ...costTable(measured, peers),
    ...limitLines(measured),
    "",
    "goals",
    ...goalLines(measured, peers),
    ...measured.failures.map((failure) => `no result: ${failure}`),
  ];
  console.log(lines.join("\n"));
  if (args.chart === undefined) return;
  const shown = plan.workloads.map(({ name }) => name)
    .filter((name) => !/[kM]B$/.test(name));
  const beside = peers.filter(({ alone }) => !alone);
  const svg = chart(measured, beside, shown, caption);
  await Deno.writeTextFile(args.chart, svg);
}

try {
  const url = Deno.env.get("AMQP_URL");
  if (url) await main(url);
  else {
    await using broker = await privateBroker();
    if (rabbitmqServer) console.log(`RabbitMQ ${versionOf(rabbitmqServer)}`);
    await main(broker.url);
  }
} finally {
  await forgetLimit();
}

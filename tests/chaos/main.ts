/**
 * `deno task chaos`: the faults that Warren says it survives, one row each, and what came of them. Arguments:
 *
 *     --rows K8,K17        these rows; default: all
 *     --cluster            the rows of a cluster of three nodes, instead of those of a single broker
 *     --seconds 30         of each fault
 *     --seed n             of chance; default: a new one, which is printed
 *     --queue classic|quorum, --ledger memory|postgres
 *                          one pass; default: two, classic with memory and quorum with postgres
 *     --rabbitmq 4.3|4.0|3.10|<folder>
 *                          default: 4.3 if it can be had
 *     --load 0.5           factor of the messages a second, for a machine that handles few more than it gets
 *     --tick-time 60       seconds of net_ticktime in rows that set it (K5)
 *     --replay <folder>    a run that failed, again: the same row, seed and settings
 *     --soak <minutes>     faults by chance on the same processes
 *     --keep               keeps the history of rows that passed too
 *
 * Ends with 1 if a row fails; its history is then in a folder that is named.
 */
import { parseArgs } from "node:util";
import { privateBroker } from "../setup/broker.ts";
import { privateCluster } from "../setup/cluster.ts";
import { useRabbitmq, versionOf } from "../setup/rabbitmq/versions.ts";
import type { Ground, RunSettings } from "./bench.ts";
import { ledgerMissing, openStore } from "./ledger.ts";
import { killAll } from "./process.ts";
import { rowsOf } from "./rows.ts";
import { type Report, runRow } from "./run.ts";
import { soak } from "./soak.ts";
import { codesOf, header, lineOf } from "./table.ts";

/** All that a run is told, and what is kept of one that failed. */
interface Plan extends RunSettings {
  readonly rows: readonly string[];
  readonly cluster: boolean;
  readonly seconds: number;
  /** Minutes. */
  readonly soak?: number;
  /** Version or folder; default: the first of the versions that can be had. */
  readonly rabbitmq?: string;
  /** Seconds; in place of `Row.tickTime`. */
  readonly tickTime?: number;
}

const { values: args } = parseArgs({
  options: {
    rows: { type: "string" },
    cluster: { type: "boolean", default: false },
    seconds: { type: "string", default: "30" },
    seed: { type: "string" },
    queue: { type: "string" },
    ledger: { type: "string" },
    rabbitmq: { type: "string" },
    "tick-time": { type: "string" },
    load: { type: "string" },
    replay: { type: "string" },
    soak: { type: "string" },
    keep: { type: "boolean", default: false },
  },
});

/** One of these words. */
function word<const T extends string>(name: string, given: string, ...of: T[]) {
  const found = of.find((each) => each === given);
  if (found) return found;
  throw new Error(`--${name} ${given}: give ${of.join(" or ")}`);
}

function number(name: string, given: string): number {
  if (Number(given) > 0) return Number(given);
  throw new Error(`--${name} ${given}: give a number above 0`);
}

/** The passes of this run. */
function plans(): Plan[] {
  if (args.replay !== undefined) {
    return [JSON.parse(Deno.readTextFileSync(`${args.replay}/settings.json`))];
  }
  const common = {
    rows: args.rows?.split(",") ?? [],
    cluster: args.cluster,
    seconds: number("seconds", args.seconds),
    seed: Math.floor(number("seed", args.seed ?? `${1 + Math.random() * 1e9}`)),
    ...(args.soak !== undefined && { soak: number("soak", args.soak) }),
    ...(args.rabbitmq !== undefined && { rabbitmq: args.rabbitmq }),
    ...(args["tick-time"] !== undefined &&
      { tickTime: number("tick-time", args["tick-time"]) }),
    ...(args.load !== undefined && { load: number("load", args.load) }),
  };
  const queue = word("queue", args.queue ?? "classic", "classic", "quorum");
  const ledger = word("ledger", args.ledger ?? "memory", "memory", "postgres");
  const one = { ...common, queue, ledger };
  if (args.queue ?? args.ledger ?? args.soak) return [one];
  return [one, { ...common, queue: "quorum", ledger: "postgres" }];
}

/** Keeps what is needed to look into a run and to repeat it; tells how. */
async function keep(report: Report, plan: Plan): Promise<void> {
  if (!("result" in report)) return;
  const { id } = report.row;
  const folder = await Deno.makeTempDir({ prefix: `warren-chaos-kept-${id}-` });
  const rows = id === "soak" ? [] : [id];
  const settings = JSON.stringify({ ...plan, rows }, null, 2);
  await Deno.writeTextFile(`${folder}/settings.json`, settings);
  const lines = report.result.history.map((line) => JSON.stringify(line));
  await Deno.writeTextFile(`${folder}/history.jsonl`, lines.join("\n"));
  console.log(`     history: ${folder}`);
  console.log(`     again:   deno task chaos --replay ${folder}`);
}

/** True if it passed. */
async function told(report: Report, plan: Plan): Promise<boolean> {
  console.log(lineOf(report, plan));
  const codes = codesOf(report);
  if (codes) console.log(`     ${codes}`);
  const passed = "cannot" in report || report.breaches.length === 0;
  if (!passed || args.keep) await keep(report, plan);
  return passed;
}

/** A broker or a cluster of rows, with what has to be disposed. */
interface OwnGround extends Pick<Ground, "broker" | "cluster"> {
  readonly owner: AsyncDisposable;
  /** See `Row.tickTime`. */
  readonly tickTime: number | undefined;
}

/** In a minority of its cluster, a node stops serving clients, as RabbitMQ recommends. */
const PAUSE_MINORITY = "cluster_partition_handling = pause_minority";

async function openGround(
  { cluster: isCluster }: Plan,
  tickTime?: number,
): Promise<OwnGround> {
  if (!isCluster) {
    const broker = await privateBroker();
    return { broker, owner: broker, tickTime };
  }
  const config = tickTime === undefined ? undefined : PAUSE_MINORITY;
  const cluster = await privateCluster({ tickTime, config });
  return { broker: cluster.running, cluster, owner: cluster, tickTime };
}

/** A row that fails may leave its broker in any state: the next one gets another. */
async function pass(plan: Plan): Promise<number> {
  let failed = 0;
  let ground: OwnGround | undefined;
  await using store = await openStore(plan.ledger);
  try {
    if (plan.soak !== undefined) {
      ground = await openGround(plan);
      const report = await soak({ ...ground, store }, plan, plan.soak);
      return await told(report, plan) ? 0 : 1;
    }
    for (const row of rowsOf(plan.rows, plan.cluster)) {
      const tickTime = row.tickTime && (plan.tickTime ?? row.tickTime);
      if (ground && ground.tickTime !== tickTime) {
        await ground.owner[Symbol.asyncDispose]();
        ground = undefined;
      }
      ground ??= await openGround(plan, tickTime);
      const { broker, cluster, owner } = ground;
      const rowGround = { broker, cluster, store };
      const report = await runRow(row, rowGround, plan, plan.seconds);
      const passed = await told(report, plan);
      if (!passed) failed++;
      if (passed && !row.spoils) continue;
      ground = undefined;
      await owner[Symbol.asyncDispose]();
    }
    return failed;
  } finally {
    await ground?.owner[Symbol.asyncDispose]();
  }
}

/** What the machine cannot remember so is run with what it can. */
function possible(plan: Plan): Plan {
  const missing = ledgerMissing(plan.ledger);
  if (!missing) return plan;
  console.log(
    `not run: ledger ${plan.ledger}: ${missing}; memory in its place`,
  );
  return { ...plan, ledger: "memory" };
}

async function main(): Promise<number> {
  let failed = 0;
  console.log(header);
  for (const wanted of plans()) {
    const rabbitmq = await useRabbitmq(wanted.rabbitmq);
    const plan = { ...possible(wanted), rabbitmq };
    console.log(
      `RabbitMQ ${
        versionOf(rabbitmq)
      }, seed ${plan.seed}, queues ${plan.queue}, ledger ${plan.ledger}`,
    );
    failed += await pass(plan);
  }
  console.log(failed === 0 ? "All rows hold." : `${failed} rows fail.`);
  return failed === 0 ? 0 : 1;
}

for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  Deno.addSignalListener(name, () => {
    killAll(); // frozen ones would not hear; the broker's guard sees that we are gone
    Deno.exit(130);
  });
}
Deno.exit(await main());

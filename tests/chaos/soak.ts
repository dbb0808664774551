/** Random faults, one after the other, on the same processes, while memory and queues are watched. */
import { until } from "../setup/probe.ts";
import {
  Bench,
  type Ground,
  type QueueState,
  type RunSettings,
  usual,
} from "./bench.ts";
import { now } from "./history.ts";
import { type Row, unless } from "./row.ts";
import { singleRows } from "./rows.ts";
import { begin, breachesOf, finish, heal, type Report } from "./run.ts";

/** Short, so that frozen workers are noticed within a fault. */
const HEARTBEAT = 2;
/** MiB by which a process may have grown in the end. */
const GROWTH = 64;
/** Milliseconds within which queues of processes that are gone go as well. */
const EXPIRY = 90_000;

/** MiB of a process, as it told last. */
function mebibytes({ history }: Bench, name: string): number {
  const line = history.findLast((line) =>
    line.t === "rss" && line.from === name
  );
  return line?.t === "rss" ? Math.round(line.bytes / 1_048_576) : 0;
}

async function sample(bench: Bench, what: string): Promise<string> {
  const sizes = bench.running.map(({ name }) => mebibytes(bench, name));
  const queues = await bench.queues();
  const caller = mebibytes(bench, "caller");
  return `${what.padEnd(4)} caller ${caller} MiB, workers ${
    sizes.join(" ")
  } MiB, ${queues.length} queues`;
}

/** The queues of all who live: the inbox of one that was killed goes after a minute. */
async function settled(bench: Bench, wanted: number): Promise<QueueState[]> {
  let queues: QueueState[] = [];
  const same = async () => {
    queues = (await bench.allQueues()).filter(({ name }) =>
      !name.endsWith(".dead")
    );
    return queues.length === wanted;
  };
  await until("the queues are as before", same, EXPIRY, 1_000).catch(() => {});
  return queues;
}

/** Runs the rows that mix, by chance, for so many minutes. */
export async function soak(
  ground: Ground,
  settings: RunSettings,
  minutes: number,
): Promise<Report> {
  const options = { ...usual, heartbeat: HEARTBEAT };
  await using bench = new Bench(ground, settings, options);
  const began = await begin(bench);
  const lasting = [bench.caller, ...bench.running];
  const before = await bench.allQueues();
  console.log(await sample(bench, "-"));
  const from = began + minutes * 20_000; // memory is measured from when all has been used once
  const faults = singleRows.filter(({ mixes }) => mixes !== false);
  await bench.repeat(minutes * 60, async () => {
    const row = faults[Math.floor(bench.random() * faults.length)];
    await row?.fault(bench, 2 + 6 * bench.random());
    await heal(bench);
    await bench.pause(2_000 + 3_000 * bench.random());
    console.log(await sample(bench, row?.id ?? ""));
  });
  const to = now();
  const left = await settled(bench, before.length);
  const result = await finish(bench, { from, to, lasting }, 60_000);
  const row: Row = {
    id: "soak",
    title: `random faults for ${minutes} minutes`,
    fault: () => Promise.resolve(),
    judge: () => [],
  };
  const breaches = [
    ...breachesOf(result, settings, true),
    ...unless(result.callerGrowth < GROWTH, "the caller grew"),
    ...unless(result.workerGrowth < GROWTH, "a worker grew"),
    ...unless(
      left.length === before.length,
      `${left.length} queues in place of ${before.length}: ${
        left.map(({ name }) => name)
      }`,
    ),
  ];
  return { row, result, breaches };
}

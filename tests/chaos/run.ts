/** Runs one row: load, fault, healing, drain, and the check of what was told. */
import { until } from "../setup/probe.ts";
import {
  Bench,
  type Ground,
  type QueueState,
  type RunSettings,
  usual,
} from "./bench.ts";
import { now } from "./history.ts";
import type { ChaosProcess } from "./process.ts";
import { type Facts, type Result, resultOf } from "./result.ts";
import { type Row, unless } from "./row.ts";

/** What came of a row: what the machine could not do, or counts and what does not hold. */
export type Report =
  | { readonly row: Row; readonly cannot: string }
  | {
    readonly row: Row;
    readonly result: Result;
    readonly breaches: readonly string[];
  };

/** Calls that succeed before a load counts as steady. */
const STEADY = 50;
/** Milliseconds of steady load before the fault, and after it has healed. */
const BEFORE = 2_000;
const AFTER = 2_000;
/** Milliseconds within which something must succeed again. */
const HEALING = 20_000;

/** Runs a row on its ground for so many seconds of fault. */
export async function runRow(
  row: Row,
  ground: Ground,
  settings: RunSettings,
  seconds: number,
): Promise<Report> {
  const cannot = await row.cannot?.();
  if (cannot !== undefined) return { row, cannot };
  await using bench = new Bench(ground, settings, { ...usual, ...row.options });
  await row.before?.(bench);
  const from = await begin(bench, row.warm).catch((error) => {
    if (error instanceof TooSlow) return error;
    throw error;
  });
  if (from instanceof TooSlow) return { row, cannot: from.message };
  const lasting = [bench.caller, ...bench.running];
  const failure = await row.fault(bench, Math.max(seconds, row.seconds ?? 0))
    .then(() => undefined, (error: Error) => `The fault failed: ${error}`);
  const to = now();
  await heal(bench);
  await bench.pause(row.after ?? AFTER);
  const result = await finish(bench, { from, to, lasting }, row.drain);
  const failures = failure === undefined ? [] : [failure];
  const isJudged = !row.replicated || settings.queue === "quorum";
  const judged = { ...result, lag: result.lag + (settings.patience ?? 0) };
  const breaches = [
    ...failures,
    ...breachesOf(result, settings, row.zombies),
    ...(isJudged ? row.judge(judged) : []),
  ];
  return { row, result, breaches };
}

/** Why a bench cannot be used: its processes do not hold the load even while nothing is broken. */
class TooSlow extends Error {}

/**
 * Starts all processes and the load; resolves when that is steady, with the time.
 *
 * @throws {TooSlow}
 */
export async function begin(
  bench: Bench,
  warm?: Row["warm"],
): Promise<number> {
  await bench.start();
  bench.order({ order: "load" });
  await succeeded(bench, STEADY, HEALING);
  await warm?.(bench);
  const wanted = 0.85 * bench.options.rates.call * BEFORE / 1_000;
  let calls = 0;
  for (let tries = 0; tries < 8; tries++) {
    const since = bench.history.length;
    await bench.pause(BEFORE);
    calls = successes(bench, since);
    if (calls >= wanted) return now();
  }
  throw new TooSlow(
    `the machine is too slow for the load: ${calls} calls in ${BEFORE} ms`,
  );
}

/** Says that all is mended, and waits for the first success. */
export async function heal(bench: Bench): Promise<void> {
  bench.healed();
  await succeeded(bench, 1, HEALING).catch(() => {}); // the result tells
}

/** Ends the load, waits until nothing is left to do, ends the processes and counts. */
export async function finish(
  bench: Bench,
  { from, to, lasting }: {
    readonly from: number;
    readonly to: number;
    readonly lasting: readonly ChaosProcess[];
  },
  drain = 30_000,
): Promise<Result> {
  const { rates, concurrency } = bench.options;
  const stayed = lasting.filter(({ expected }) => !expected);
  const stuck = await drained(bench, drain);
  const facts: Facts = {
    from,
    to,
    heals: rates.call > 0 ? bench.heals : [],
    removals: bench.removals,
    cutOff: bench.cutOff,
    prefetch: concurrency,
    stuck,
    died: await ended(bench),
    ...await kept(bench),
    recorded: await bench.store?.recorded(bench.topic),
    lasting: stayed.map(({ name }) => name),
  };
  return resultOf(bench.history, facts);
}

/** Resolves when so many more calls have succeeded from now on; one broadcast where there are no calls. */
async function succeeded(
  bench: Bench,
  more: number,
  ms: number,
): Promise<void> {
  const goal = bench.options.rates.call > 0 ? more : 1;
  let [seen, found] = [bench.history.length, 0];
  await until(`${goal} successes`, () => {
    found += successes(bench, seen);
    seen = bench.history.length;
    return found >= goal;
  }, ms);
}

/** Calls that have succeeded since a line of the history; broadcasts where there are no calls. */
function successes({ history, options }: Bench, since: number): number {
  const verb = options.rates.call > 0 ? "call" : "fanout";
  return history.slice(since).filter((line) =>
    line.t === "out" && line.verb === verb && line.code === undefined
  ).length;
}

/** Ends the load and waits until nothing is left to do; tells of what is left. */
async function drained(bench: Bench, ms: number): Promise<string[]> {
  bench.order({ order: "stop" });
  await bench.caller.told("done", 120_000).catch(() => {}); // then it has died, which is told
  let left: readonly QueueState[] = [];
  const empty = async () => {
    left = (await bench.queues()).filter((queue) =>
      !queue.name.endsWith(".dead") &&
      queue.messages_ready + queue.messages_unacknowledged > 0
    );
    return left.length === 0;
  };
  await until("the queues are empty", empty, ms, 500).catch(() => {});
  return left.map((queue) =>
    `${
      queue.name.replace(bench.topic, "<topic>")
    }: ${queue.messages_ready} ready, ${queue.messages_unacknowledged} in hand`
  );
}

/** Ends all processes in order; tells of those that ended otherwise. */
async function ended({ caller, workers, running }: Bench): Promise<string[]> {
  const early = [caller, ...workers].filter(({ expected, code }) =>
    !expected && code !== undefined
  );
  await Promise.all(running.map((worker) => worker.end("SIGTERM")));
  await caller.end("SIGKILL");
  const badly = workers.filter(({ endedBy, code }) =>
    endedBy === "SIGTERM" && code !== 0
  );
  return [...early, ...badly].map(({ name, code }) =>
    `${name} ended with ${code}`
  );
}

/** Ids of what is left in the queues of a row when nobody consumes them any more: dead letters, and what still waits. */
async function kept(
  bench: Bench,
): Promise<{ readonly dead: string[]; readonly waiting: string[] }> {
  const left = { dead: [] as string[], waiting: [] as string[] };
  await using raw = await bench.raw();
  for (const { name } of await bench.queues()) {
    if (!name.startsWith(bench.topic)) continue;
    const ids = name.endsWith(".dead") ? left.dead : left.waiting;
    for (;;) {
      const letter = await raw.channel.get(name, { noAck: true });
      if (!letter) break;
      ids.push(/"id":"([^"]+)"/.exec(String(letter.content))?.[1] ?? "?");
    }
  }
  return left;
}

const some = (what: readonly string[]) =>
  `${what.length} (${what.slice(0, 3).join("; ")}${
    what.length > 3 ? "; …" : ""
  })`;

/** What must hold for every row. */
export function breachesOf(
  result: Result,
  { ledger }: RunSettings,
  zombies = false,
): string[] {
  const { lost, hung, stuck, wrong, died, finishedTwice: twice } = result;
  const allowed = ledger === "memory" || zombies ? result.inHand : 0;
  return [
    ...unless(lost.length === 0, `lost: ${some(lost)}`),
    ...unless(hung.length === 0, `hung: ${some(hung)}`),
    ...unless(stuck.length === 0, `stuck: ${some(stuck)}`),
    ...unless(wrong.length === 0, `wrong: ${some(wrong)}`),
    ...unless(died.length === 0, `died: ${some(died)}`),
    ...unless(
      twice.length <= allowed,
      `finished twice: ${some(twice)}, ${allowed} were in hand`,
    ),
    ...unless(
      !result.recordedTwice,
      `${result.recordedTwice} were recorded twice`,
    ),
    ...unless(result.recovery < Infinity, "no call succeeded after the fault"),
  ];
}

/** A row of the fault matrix: what is broken, and what must hold all the same. */
import type { Bench, BenchOptions } from "./bench.ts";
import type { Result } from "./result.ts";

/** A fault as data. */
export interface Row {
  /** `K8` */
  readonly id: string;
  readonly title: string;
  /** What differs from the usual bench. */
  readonly options?: Partial<BenchOptions>;
  /** Seconds that the fault takes at least. */
  readonly seconds?: number;
  /** Milliseconds of load after the first success that follows the fault; default 2000. */
  readonly after?: number;
  /** Milliseconds that the queues may take to be empty afterwards; default 30 000. */
  readonly drain?: number;
  /** False where the row is no mix of faults and steady load, so that it has no place in a soak. */
  readonly mixes?: false;
  /** Seconds after which nodes of a cluster count as down that do not answer; default: 60, of Erlang. */
  readonly tickTime?: number;
  /** The broker cannot be used by another row afterwards. */
  readonly spoils?: true;
  /** A worker may finish what another finishes too, also with a shared ledger: it was killed or frozen. */
  readonly zombies?: true;
  /** Only replicated queues hold `judge`: a classic queue is down with its node. What holds for every row holds all the same. */
  readonly replicated?: true;
  /** Why the machine cannot do it; undefined = it can. */
  readonly cannot?: () => Promise<string | undefined>;
  /** Prepares the broker before the processes connect. */
  readonly before?: (bench: Bench) => Promise<void>;
  /** More load before the fault, so that memory is measured from a process that has worked. */
  readonly warm?: (bench: Bench) => Promise<void>;
  /** Breaks things for so many seconds, and mends them. */
  readonly fault: (bench: Bench, seconds: number) => Promise<void>;
  /** Sentences on what does not hold, beyond what holds for every row. */
  readonly judge: (result: Result) => readonly string[];
}

/** The sentence, if something does not hold. */
export function unless(holds: boolean, sentence: string): string[] {
  return holds ? [] : [sentence];
}

/**
 * Calls succeed again so many milliseconds after each healing. They wait in line behind the casts that the fault held up:
 * the time that the workers need for these does not count.
 */
export function recovers(
  { recovery, ownRecovery, lag }: Result,
  ms: number,
): readonly string[] {
  const [all, own] = [recovery, ownRecovery].map(Math.round);
  return unless(
    ownRecovery <= ms + lag,
    `calls succeeded again after ${all} ms, ${own} ms of it not for casts held up by the fault: more than ${ms}`,
  );
}

/** Other work goes on meanwhile. */
export function goesOn(
  { silence, lag }: Result,
  ms: number,
): readonly string[] {
  return unless(
    silence <= ms + lag,
    `no call succeeded for ${Math.round(silence)} ms`,
  );
}

/** Memory of caller and workers. */
export function flat(
  { callerGrowth, workerGrowth }: Result,
  mebibytes: number,
): readonly string[] {
  return [
    ...unless(
      callerGrowth < mebibytes,
      `the caller grew by ${callerGrowth.toFixed()} MiB`,
    ),
    ...unless(
      workerGrowth < mebibytes,
      `a worker grew by ${workerGrowth.toFixed()} MiB`,
    ),
  ];
}

/** Outcomes of these verbs either succeed or have one of these codes. */
export function onlyCodes(
  { codes }: Result,
  verbs: readonly string[],
  allowed: readonly string[],
): readonly string[] {
  return [...codes].flatMap(([key, count]) => {
    const [verb = "", code = ""] = key.split(" ");
    const fine = !verbs.includes(verb) || allowed.includes(code);
    return fine ? [] : `${count} × ${key}`;
  });
}

/** What a row's history says: counted as Jepsen counts a queue. Pure: the same history gives the same result. */
import type { Removal } from "./bench.ts";
import type { Line, Outcome } from "./history.ts";

/** What is known of a row beside its history. */
export interface Facts {
  /** When the fault began and ended. */
  readonly from: number;
  readonly to: number;
  readonly heals: readonly number[];
  readonly removals: readonly Removal[];
  /** Messages cut off from their workers without a lost connection. */
  readonly cutOff: number;
  /** Messages in a worker's hand at most. */
  readonly prefetch: number;
  /** Ids of the dead letters. */
  readonly dead: readonly string[];
  /** Ids of what still waited at the end. */
  readonly waiting: readonly string[];
  /** Queues that were not empty at the end. */
  readonly stuck: readonly string[];
  /** Processes that ended and were not meant to, or not so. */
  readonly died: readonly string[];
  /** Requests and attempts whose effects were recorded, as often as they were; undefined without a store. */
  readonly recorded?: readonly string[] | undefined;
  /** Processes that lived from before the fault to its end. */
  readonly lasting: readonly string[];
}

/** What came of a row. */
export interface Result extends Facts {
  readonly history: readonly Line[];
  readonly outcomes: readonly Outcome[];
  readonly resolved: number;
  readonly handled: number;
  /** Effects that were there twice; undefined without a store. */
  readonly recordedTwice?: number | undefined;
  readonly starts: number;
  readonly lost: readonly string[];
  /** Casts that went with a queue that was removed. */
  readonly removed: readonly string[];
  readonly finishedTwice: readonly string[];
  /** How many may have finished twice where each worker has only its own memory: what was in hand at the cuts. */
  readonly inHand: number;
  readonly inDoubt: number;
  readonly hung: readonly string[];
  readonly wrong: readonly string[];
  /** Outcomes that were no success, by verb and code. */
  readonly codes: ReadonlyMap<string, number>;
  /** Longest time from a healing to the next call that succeeded. */
  readonly recovery: number;
  /** The same without the time that the workers needed for casts that were sent before the healing. */
  readonly ownRecovery: number;
  /** Longest time in which no call succeeded, from the start of the fault on. */
  readonly silence: number;
  /** MiB. */
  readonly callerGrowth: number;
  readonly workerGrowth: number;
  /** How late the caller's event loop was at most. */
  readonly lag: number;
}

/** Milliseconds beyond its deadline that a promise may take. */
const SLACK = 250;
/** A cast that was sent so long before a queue was removed may have been in it, or in the hand of a worker that stood still. */
const IN_QUEUE = 10_000;
/** One that a worker began so long before may have been in its hand still. */
const IN_HAND = 10_000;

type Run = Extract<Line, { t: "start" | "end" }>;

/** Counts a history. */
export function resultOf(history: readonly Line[], facts: Facts): Result {
  const outcomes = history.filter((line): line is Outcome & Line =>
    line.t === "out"
  );
  const runs = history.filter((line): line is Run =>
    line.t === "start" || line.t === "end"
  );
  const requests = runs.filter(({ id }) => !id.startsWith("fanout-"));
  const ends = requests.filter(({ t }) => t === "end");
  const recorded = facts.recorded ?? [];
  // A worker that was killed may have recorded what it could not tell any more.
  const done = new Set([
    ...ends.map(({ id }) => id),
    ...recorded.map((each) => each.split("#")[0] ?? each),
  ]);
  const resolved = outcomes.filter(({ code }) => code === undefined);
  const missing = missingOf(resolved, done, facts);
  const begun = new Map(requests.map(({ id, seen }) => [id, seen]));
  const removed = new Set(
    missing.filter((each) => wasIn(each, begun.get(each.id), facts)),
  );
  const lost = missing.filter((each) => !removed.has(each));
  const lags = history.filter((line) =>
    line.t === "lag" && line.from === "caller"
  ) as Lag[];
  const calls = resolved.filter(({ verb }) => verb === "call");
  const backlogOf = (heal: number, until: number) =>
    backlog(runs, resolved, facts, heal, until);
  return {
    ...facts,
    history,
    outcomes,
    resolved: resolved.length,
    handled: done.size,
    recordedTwice: facts.recorded &&
      recorded.length - new Set(recorded).size,
    starts: requests.length - ends.length,
    lost: lost.map(({ id }) => id),
    removed: [...removed].map(({ id }) => id),
    finishedTwice: twice(ends),
    inHand: inHand(history, outcomes, facts),
    inDoubt: outcomes.filter(({ inDoubt }) => inDoubt).length,
    hung: [...neverSettled(history), ...settledLate(outcomes, lags)],
    wrong: outcomes.flatMap(({ id, wrong }) => wrong ? `${id}: ${wrong}` : []),
    codes: codesOf(outcomes),
    ...recoveries(calls.map(({ settled }) => settled), facts, backlogOf),
    callerGrowth: growth(history, "caller", facts),
    workerGrowth: Math.max(
      0,
      ...facts.lasting.filter((name) => name !== "caller").map((name) =>
        growth(history, name, facts)
      ),
    ),
    lag: Math.max(0, ...lags.map(({ ms }) => ms)),
  };
}

/** Casts that resolved, and neither finished nor are kept; those with a time to live may go with it. */
function missingOf(
  resolved: readonly Outcome[],
  done: ReadonlySet<string>,
  { dead, waiting }: Facts,
): Outcome[] {
  const kept = new Set([...dead, ...waiting]);
  return resolved.filter(({ verb, id, ttl }) =>
    (verb === "cast" || verb === "burst") && ttl === undefined &&
    !done.has(id) && !kept.has(id)
  );
}

/** True if a cast was on its way, or in a worker's hand, when a queue was removed. */
function wasIn(
  { at, settled }: Outcome,
  begun: number | undefined,
  { removals }: Facts,
): boolean {
  return removals.some(({ from, to }) =>
    at <= to &&
    (settled >= from - IN_QUEUE || Number(begun) >= from - IN_HAND)
  );
}

/** Ids of which one attempt finished twice. */
function twice(ends: readonly Run[]): string[] {
  const runs = Map.groupBy(ends, ({ id, attempt }) => `${id}#${attempt}`);
  return [...runs].filter(([, each]) => each.length > 1).map(([id]) => id);
}

/**
 * What may have been in hand when connections were lost: at a worker, or on its way from the caller, whose idempotent calls
 * are asked again until both its connections are back.
 */
function inHand(
  history: readonly Line[],
  outcomes: readonly Outcome[],
  { cutOff, prefetch }: Facts,
): number {
  const events = history.filter((line) => line.t === "event");
  const losses = events.filter(({ name }) => name === "disconnected");
  const sent = new Set<string>();
  for (const lost of losses.filter(({ from }) => from === "caller")) {
    const back = events.find(({ from, name, at }) =>
      from === "caller" && name === "connected" && at > lost.at
    )?.at ?? Infinity;
    for (const { id, at, settled, idempotent } of outcomes) {
      const underWay = at < (idempotent ? back : lost.at) && settled > lost.at;
      if (underWay) {
        sent.add(id);
      }
    }
  }
  const workers = losses.filter(({ from }) => from !== "caller");
  return cutOff + prefetch * workers.length + sent.size;
}

function neverSettled(history: readonly Line[]): string[] {
  return history.flatMap((line) => line.t === "done" ? line.open : []);
}

type Lag = Extract<Line, { t: "lag" }>;

/** Later than the deadline, the slack, and what the caller's own event loop was late meanwhile. */
function settledLate(
  outcomes: readonly Outcome[],
  lags: readonly Lag[],
): string[] {
  return outcomes.filter(({ due, settled }) => {
    if (settled <= due + SLACK) return false;
    const meanwhile = lags.filter(({ at, ms }) =>
      at >= due && at - ms <= settled
    );
    const lag = meanwhile.reduce((sum, { ms }) => sum + ms, 0);
    return settled > due + SLACK + lag;
  }).map(({ id, due, settled }) =>
    `${id}: ${Math.round(settled - due)} ms after its deadline`
  );
}

function codesOf(outcomes: readonly Outcome[]): Map<string, number> {
  const codes = new Map<string, number>();
  for (const { verb, code } of outcomes) {
    if (code === undefined) continue;
    const key = `${verb} ${code}`;
    codes.set(key, (codes.get(key) ?? 0) + 1);
  }
  return codes;
}

/** `settled`: when calls succeeded. */
function recoveries(
  settled: readonly number[],
  { from, heals }: Facts,
  backlogOf: (heal: number, until: number) => number,
) {
  const times = settled.toSorted((a, b) => a - b);
  const firsts = heals.map((heal) => {
    const first = times.find((time) => time >= heal) ?? Infinity;
    return { wait: first - heal, backlog: backlogOf(heal, first) };
  });
  const after = [from, ...times.filter((time) => time >= from)];
  const gaps = after.slice(1).map((time, n) => time - (after[n] ?? time));
  return {
    recovery: Math.max(0, ...firsts.map(({ wait }) => wait)),
    ownRecovery: Math.max(0, ...firsts.map((each) => each.wait - each.backlog)),
    silence: Math.max(0, ...gaps),
  };
}

/** Milliseconds that all slots of the workers needed for casts that were sent before a healing, until a call succeeded. */
function backlog(
  runs: readonly Run[],
  resolved: readonly Outcome[],
  { lasting, prefetch }: Facts,
  heal: number,
  until: number,
): number {
  const heldUp = new Set(
    resolved.filter(({ verb, at }) => verb !== "call" && at < heal)
      .map(({ id }) => id),
  );
  const begun = new Map<string, number>();
  let busy = 0;
  for (const { t, id, attempt, from, at } of runs) {
    if (!heldUp.has(id)) continue;
    const key = `${id}#${attempt} ${from}`;
    if (t === "start") begun.set(key, at);
    else {
      const start = Math.max(heal, begun.get(key) ?? at);
      busy += Math.max(0, Math.min(at, until) - start);
    }
  }
  const workers = lasting.filter((name) => name !== "caller").length;
  return busy / (Math.max(1, workers) * prefetch);
}

/** MiB by which a process grew from the start of the fault to its end. */
function growth(
  history: readonly Line[],
  name: string,
  { from, to }: Facts,
): number {
  const samples = history.flatMap((line) =>
    line.t === "rss" && line.from === name ? line : []
  );
  const at = (time: number) => {
    const last = samples.filter((each) => each.seen <= time).slice(-3)
      .map(({ bytes }) => bytes).toSorted((a, b) => a - b);
    return last[Math.floor(last.length / 2)] ?? 0;
  };
  return Math.max(0, (at(to) - at(from)) / 1_048_576);
}

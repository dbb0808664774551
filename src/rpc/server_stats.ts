/** What a server has done. @module */

/** What became of a cast that failed. */
export type Disposition = "again" | "dead" | "back" | "dropped";

/** Milliseconds within which so many of the handlers ended, at most 25 % too high; 0 if none has. */
export interface LatencyStats {
  /** Half of them. */
  readonly p50: number;
  /** Nine of ten. */
  readonly p90: number;
  /** 99 of 100. */
  readonly p99: number;
  /** All of them. */
  readonly max: number;
}

/** A handler that has run for long. */
export interface LongRunningHandler {
  /** `topic.method`. */
  readonly procedure: string;
  /** Id of its request. */
  readonly request: string;
  /** Milliseconds since it started. */
  readonly ms: number;
}

/** The handlers that have run longer than a bound. */
export interface LongRunningStats {
  /** How many. */
  readonly count: number;
  /** How many of them take one of the service's `concurrency`: nobody waits for the others any more. */
  readonly slots: number;
  /** The first ten of them. */
  readonly handlers: readonly LongRunningHandler[];
}

/** What a server has done. */
export interface ServerStats {
  /** Handlers that returned. */
  readonly handled: number;
  /** Handlers that threw, and requests that the dispatcher refused. */
  readonly failed: number;
  /** Messages that were no requests. */
  readonly refused: number;
  /** Requests that were not started: expired, or given up by the caller. */
  readonly dropped: number;
  /** Requests that the broker had delivered before, here or elsewhere. */
  readonly redelivered: number;
  /** Requests that a worker had and did not finish, as often as that was counted here. */
  readonly interrupted: number;
  /** Requests that had come before, and were not run again. */
  readonly repeated: number;
  /** Casts that failed and will be tried again. */
  readonly retried: number;
  /** Casts that failed and became dead letters. */
  readonly dead: number;
  /** Requests that another worker took over while they ran here, or that were recorded already when they ended. */
  readonly fenced: number;
  /** Times that the memory of requests was cut short of ten minutes, since there were too many. */
  readonly evicted: number;
  /** Times that the event loop stood still for a second or longer while requests were in hand. */
  readonly blocked: number;
  /** Requests in hand now. */
  readonly active: number;
  /** Handlers that run now, and have for longer than `longRunning`. */
  readonly longRunning: LongRunningStats;
  /** How long handlers took. */
  readonly latency: LatencyStats;
}

/** What is counted. */
export type Counts = ReturnType<typeof counts>;

/** What is counted, from nothing. */
export function counts() {
  return {
    handled: 0,
    failed: 0,
    refused: 0,
    dropped: 0,
    redelivered: 0,
    interrupted: 0,
    repeated: 0,
    retried: 0,
    dead: 0,
    fenced: 0,
  };
}

/** Counts what became of a cast that failed. */
export function count(counts: Counts, fate: Disposition): void {
  if (fate === "again") counts.retried++;
  if (fate === "dead") counts.dead++;
}

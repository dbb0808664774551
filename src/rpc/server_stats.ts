/** Statistics of a server. @module */

/** Disposition of a failed cast. */
export type Disposition =
  | "retried"
  | "deadLettered"
  | "requeued"
  | "dropped";

/**
 * Durations of handlers in milliseconds, as quantiles that are at most 25 % too high; 0 if no handler has ended.
 * @category Fleet
 */
export interface LatencyStats {
  /** Half of the handlers ended within it. */
  readonly p50: number;
  /** Nine of ten handlers. */
  readonly p90: number;
  /** 99 of 100 handlers. */
  readonly p99: number;
  /** All handlers. */
  readonly max: number;
}

/**
 * Handler that has run for long.
 * @category Fleet
 */
export interface LongRunningHandler {
  /** `topic.method`. */
  readonly procedure: string;
  /** Id of the request. */
  readonly request: string;
  /** Milliseconds since it started. */
  readonly ms: number;
}

/**
 * Handlers that have run longer than a limit.
 * @category Fleet
 */
export interface LongRunningStats {
  /** Number of these handlers. */
  readonly count: number;
  /** Number of these handlers that count towards the service's `concurrency`: nobody waits for the others any more. */
  readonly slots: number;
  /** First ten of these handlers. */
  readonly handlers: readonly LongRunningHandler[];
}

/**
 * Statistics of a server since its start.
 * @category Fleet
 */
export interface ServerStats {
  /** Handlers that returned. */
  readonly handled: number;
  /** Handlers that threw, and requests that the dispatcher refused. */
  readonly failed: number;
  /** Messages that were rejected because they could not be read, or were no requests for this server. */
  readonly refused: number;
  /** Requests that were not started: expired, or given up by the caller. */
  readonly dropped: number;
  /** Requests that the broker had delivered before, here or elsewhere. */
  readonly redelivered: number;
  /** Interruptions counted here: requests that a worker did not finish. */
  readonly interrupted: number;
  /** Requests that came again and were not run again. */
  readonly repeated: number;
  /** Casts that failed and will be tried again. */
  readonly retried: number;
  /** Casts that failed and became dead letters. */
  readonly dead: number;
  /** Requests that another worker took over while they ran here, or that were recorded already when they ended. */
  readonly fenced: number;
  /** Generations of recent requests that were evicted before ten minutes, since there were too many requests. */
  readonly evicted: number;
  /** Times that the event loop was blocked for a second or longer while handlers ran. */
  readonly blocked: number;
  /** Active requests. */
  readonly active: number;
  /** Handlers that run now and have run for longer than `longRunning`. */
  readonly longRunning: LongRunningStats;
  /** Durations of the handlers. */
  readonly latency: LatencyStats;
}

/** Counters of a server. */
export type Counts = ReturnType<typeof counts>;

/** Counters that begin with zero. */
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

/** Counts the disposition of a failed cast. */
export function count(counts: Counts, disposition: Disposition): void {
  if (disposition === "retried") counts.retried++;
  if (disposition === "deadLettered") counts.dead++;
}

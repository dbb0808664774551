/** Statistics of a server. @module */

/** Outcome of a failed cast. */
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
  /** Maximum duration of the fastest 50 % of the handlers. */
  readonly p50: number;
  /** Maximum duration of the fastest 90 % of the handlers. */
  readonly p90: number;
  /** Maximum duration of the fastest 99 % of the handlers. */
  readonly p99: number;
  /** Maximum duration of all handlers. */
  readonly max: number;
}

/**
 * Handler that has run longer than `longRunning`.
 * @category Fleet
 */
export interface LongRunningHandler {
  /** `topic.method`. */
  readonly procedure: string;
  /** Id of the request. */
  readonly request: string;
  /** Milliseconds since the handler started. */
  readonly ms: number;
}

/**
 * Handlers that have run longer than `longRunning`.
 * @category Fleet
 */
export interface LongRunningStats {
  /** Number of these handlers. */
  readonly count: number;
  /**
   * Number of these handlers that count towards the service's `concurrency`. A handler no longer counts if its caller
   * has stopped waiting, or its attempt has failed.
   */
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
  /** Handlers that threw, and requests that failed before their handler ran. */
  readonly failed: number;
  /** Messages that were rejected because they could not be decoded, or were no requests for this server. */
  readonly refused: number;
  /** Requests that were not started: expired, or cancelled by the caller. */
  readonly dropped: number;
  /** Requests that the broker had delivered before, here or elsewhere. */
  readonly redelivered: number;
  /** Requests that a worker did not finish, as counted by this server. */
  readonly interrupted: number;
  /** Requests that were received again and not run again. */
  readonly repeated: number;
  /** Casts that failed and will be tried again. */
  readonly retried: number;
  /** Casts that failed and became dead letters. */
  readonly dead: number;
  /** Requests that another worker took over while they ran here, or had already recorded when they ended. */
  readonly fenced: number;
  /** Evicted generations of remembered requests: too many requests arrived to remember all of them for ten minutes. */
  readonly evicted: number;
  /** Times that the event loop was blocked for a second or longer while handlers ran. */
  readonly blocked: number;
  /** Requests that are being served. */
  readonly active: number;
  /** Names of the queues that an operator has paused. */
  readonly paused: readonly string[];
  /** Running handlers that have run longer than `longRunning`. */
  readonly longRunning: LongRunningStats;
  /** Durations of the handlers. */
  readonly latency: LatencyStats;
}

/** What a server has done. @module */
import type { LatencyStats } from "./latency.ts";

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
  /** Requests that had come before, and were not run again. */
  readonly repeated: number;
  /** Casts that failed and will be tried again. */
  readonly retried: number;
  /** Casts that failed and became dead letters. */
  readonly dead: number;
  /** Requests in hand now. */
  readonly inHand: number;
  /** How long handlers took. */
  readonly latency: LatencyStats;
}

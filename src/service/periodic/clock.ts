/** Time as services need it: a clock that no change of the wall clock disturbs. @module */
import { delay } from "../../async/deadline.ts";

/** When it is, and how to wait. */
export interface Clock {
  /** Milliseconds of a monotonic clock. */
  now(): number;
  /** Resolves to true after `ms`, to false as soon as the signal fires. */
  sleep(ms: number, signal: AbortSignal): Promise<boolean>;
}

/** The process's own. */
export const monotonicClock: Clock = {
  now: () => performance.now(),
  sleep: (ms, signal) =>
    delay(ms, { at: Infinity, signal }).then(() => true, () => false),
};

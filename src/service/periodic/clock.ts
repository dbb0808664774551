/** Clock of periodic tasks, which tests replace to control time. @module */
import { delay } from "../../async/deadline.ts";

/** Source of time, independent of changes of the wall clock. */
export interface Clock {
  /** Milliseconds of a monotonic clock, whose zero has no meaning. */
  now(): number;
  /** Resolves to true after `ms` milliseconds, and to false as soon as the signal fires. */
  sleep(ms: number, signal: AbortSignal): Promise<boolean>;
}

/** Clock of this process: `performance.now()` and its timers. */
export const monotonicClock: Clock = {
  now: () => performance.now(),
  sleep: (ms, signal) =>
    delay(ms, { at: Infinity, signal }).then(() => true, () => false),
};

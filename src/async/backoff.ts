/** Pauses between attempts: exponential, with full jitter. @module */

/** Milliseconds of the first and of the longest pause, by default. */
const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;

/**
 * Returns the milliseconds before the next attempt: random between 0 and the exponential limit, so that many processes
 * do not retry at the same time.
 */
export function backoff(
  attempt: number,
  firstMs: number = FIRST_PAUSE_MS,
  maxMs: number = MAX_PAUSE_MS,
): number {
  return Math.random() * Math.min(maxMs, firstMs * 2 ** attempt);
}

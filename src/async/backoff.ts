/** Pauses between attempts: exponential, with full jitter. @module */

/** Milliseconds of the first and of the longest pause, unless a caller gives its own. */
const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;

/** Milliseconds before the next attempt: random between 0 and the exponential limit, so that many processes do not return at once. */
export function backoff(
  attempt: number,
  first: number = FIRST_PAUSE_MS,
  longest: number = MAX_PAUSE_MS,
): number {
  return Math.random() * Math.min(longest, first * 2 ** attempt);
}

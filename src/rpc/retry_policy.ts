/** When a cast that failed is tried again. @module */
import type { Procedure, RetryDelay, RetryPolicy } from "./contract.ts";

/** All waits that there are. */
const DELAYS: readonly number[] = [
  ...[100, 1_000, 5_000, 30_000],
  ...[120_000, 600_000, 3_600_000],
];

/** The waits of a policy that names none. */
const BACKOFF: readonly RetryDelay[] = [
  ...[1_000, 5_000, 30_000, 120_000, 600_000] as const,
];

const MOST = 100;

/** What is wrong with the policy of a procedure, in words; undefined if nothing is. */
export function wrongRetry(
  { retry, delivery, yields }: Procedure,
): string | undefined {
  const { attempts, backoff = BACKOFF } = Object(retry) as RetryPolicy;
  if (delivery === "at-most-once") return "contradicts at-most-once";
  if (yields) return "is for casts, and a stream cannot be cast";
  if (!Number.isInteger(attempts) || attempts < 1 || attempts > MOST) {
    return `has ${attempts} attempts; give 1 to ${MOST}`;
  }
  const known = Array.isArray(backoff) && backoff.length > 0 &&
    backoff.every((ms) => DELAYS.includes(ms));
  return known ? undefined : `has no such backoff; give ${DELAYS.join(", ")}`;
}

/** Milliseconds before the attempt that follows `attempt`; undefined if none does. */
export function delayAfter(
  attempt: number,
  retry: RetryPolicy | undefined,
): number | undefined {
  const { attempts, backoff = BACKOFF } = retry ?? { attempts: 1 };
  if (attempt >= attempts) return undefined;
  return backoff[Math.min(attempt, backoff.length) - 1];
}

/** Retry policies of casts. @module */
import { oneLine } from "../logging.ts";
import type { Procedure, RetryDelay, RetryPolicy } from "./types.ts";

/** Allowed delays before a retry, in milliseconds. */
export const RETRY_DELAYS_MS: readonly number[] = [
  ...[100, 1_000, 5_000, 30_000],
  ...[120_000, 600_000, 3_600_000],
];

/** Default delays of a policy. */
const DEFAULT_BACKOFF_MS: readonly RetryDelay[] = [
  ...[1_000, 5_000, 30_000, 120_000, 600_000] as const,
];

const MAX_ATTEMPTS = 100;
const POLICY_KEYS = ["attempts", "backoff"];
const ALLOWED_KEYS = `allowed are ${POLICY_KEYS.join(", ")}`;

/** Formats a value for an error message; strings and arrays are shown as such. */
function formatValue(value: unknown): string {
  if (Array.isArray(value)) return `[${oneLine(value, 60)}]`;
  return typeof value === "string"
    ? `"${oneLine(value, 60)}"`
    : oneLine(value, 60);
}

/**
 * Returns the error in the retry policy of a procedure, as a text that follows its path; undefined if the policy is
 * valid.
 */
export function retryPolicyError(
  { retry, delivery, yields }: {
    readonly retry?: RetryPolicy | undefined;
    readonly delivery?: Procedure["delivery"] | undefined;
    readonly yields?: unknown;
  },
): string | undefined {
  if (retry === undefined) return undefined;
  if (typeof retry !== "object" || retry === null) {
    return ` is ${formatValue(retry)}; give { attempts, backoff }`;
  }
  const unknownKey = Object.keys(retry).find((key) =>
    !POLICY_KEYS.includes(key)
  );
  if (unknownKey !== undefined) {
    return `.${unknownKey} is no option; ${ALLOWED_KEYS}`;
  }
  const { attempts, backoff = DEFAULT_BACKOFF_MS } = retry;
  if (delivery === "at-most-once") return " contradicts at-most-once";
  if (yields) return " is for casts, and a stream cannot be cast";
  if (!Number.isInteger(attempts) || attempts < 1 || attempts > MAX_ATTEMPTS) {
    return `.attempts is ${formatValue(attempts)}; give 1 to ${MAX_ATTEMPTS}`;
  }
  const isList = Array.isArray(backoff) && backoff.length > 0;
  const wrong = isList
    ? backoff.find((ms) => !RETRY_DELAYS_MS.includes(ms))
    : undefined;
  if (isList && wrong === undefined) return undefined;
  const problem = isList
    ? `has ${formatValue(wrong)}`
    : `is ${formatValue(backoff)}`;
  return `.backoff ${problem}; give a list of one or more of ${
    RETRY_DELAYS_MS.join(", ")
  }`;
}

/** Returns the milliseconds before the next attempt; undefined if `attempt` was the last one. */
export function nextDelay(
  attempt: number,
  retry: RetryPolicy | undefined,
): number | undefined {
  const { attempts, backoff = DEFAULT_BACKOFF_MS } = retry ?? { attempts: 1 };
  if (attempt >= attempts) return undefined;
  return backoff[Math.min(attempt, backoff.length) - 1];
}

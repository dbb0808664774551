/** When a cast that failed is tried again. @module */
import { oneLine } from "../logging.ts";
import type { Procedure, RetryDelay, RetryPolicy } from "./types.ts";

/** All waits that there are. */
export const DELAYS: readonly number[] = [
  ...[100, 1_000, 5_000, 30_000],
  ...[120_000, 600_000, 3_600_000],
];

/** The waits of a policy that names none. */
const BACKOFF: readonly RetryDelay[] = [
  ...[1_000, 5_000, 30_000, 120_000, 600_000] as const,
];

const MAX_ATTEMPTS = 100;
const KEYS = ["attempts", "backoff"];
const ALLOWED = `allowed are ${KEYS.join(", ")}`;

/** A text, and a list, are shown as such. */
function formatValue(value: unknown): string {
  if (Array.isArray(value)) return `[${oneLine(value, 60)}]`;
  return typeof value === "string"
    ? `"${oneLine(value, 60)}"`
    : oneLine(value, 60);
}

/** What is wrong with the policy of a procedure, in words that follow its path; undefined if nothing is. */
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
  const other = Object.keys(retry).find((key) => !KEYS.includes(key));
  if (other !== undefined) return `.${other} is no option; ${ALLOWED}`;
  const { attempts, backoff = BACKOFF } = retry;
  if (delivery === "at-most-once") return " contradicts at-most-once";
  if (yields) return " is for casts, and a stream cannot be cast";
  if (!Number.isInteger(attempts) || attempts < 1 || attempts > MAX_ATTEMPTS) {
    return `.attempts is ${formatValue(attempts)}; give 1 to ${MAX_ATTEMPTS}`;
  }
  const list = Array.isArray(backoff) && backoff.length > 0;
  const wrong = list ? backoff.find((ms) => !DELAYS.includes(ms)) : undefined;
  if (list && wrong === undefined) return undefined;
  const has = list ? `has ${formatValue(wrong)}` : `is ${formatValue(backoff)}`;
  return `.backoff ${has}; give a list of one or more of ${DELAYS.join(", ")}`;
}

/** Milliseconds before the attempt that follows `attempt`; undefined if none does. */
export function nextDelay(
  attempt: number,
  retry: RetryPolicy | undefined,
): number | undefined {
  const { attempts, backoff = BACKOFF } = retry ?? { attempts: 1 };
  if (attempt >= attempts) return undefined;
  return backoff[Math.min(attempt, backoff.length) - 1];
}

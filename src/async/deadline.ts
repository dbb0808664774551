/** Waits that end at a deadline, or earlier by a signal. @module */
import { TimeoutError } from "../errors.ts";
import { logger } from "../logging.ts";
import { clearDeadline, setDeadline } from "./timer_wheel.ts";

/** End of a wait: a moment of the monotonic clock, and a signal that may fire earlier. */
export interface Deadline {
  /** Moment in milliseconds of `performance.now()`; `Infinity` = no limit. */
  readonly at: number;
  /** Signal that ends the wait earlier, with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Settles as `promise` does, unless the deadline passes before (rejects with `timeoutError()`) or the signal fires
 * (rejects with its reason).
 */
export function withDeadline<T>(
  promise: Promise<T>,
  deadline: Deadline,
  timeoutError: () => unknown,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    if (deadline.signal?.aborted) {
      promise.catch(() => {}); // its rejection is not reported as unhandled
      return reject(deadline.signal.reason);
    }
    const cleanUp = () => {
      clearDeadline(timer);
      deadline.signal?.removeEventListener("abort", onAbort);
    };
    const onAbort = () => (cleanUp(), reject(deadline.signal?.reason));
    const timer = setDeadline(
      deadline.at,
      () => (cleanUp(), reject(timeoutError())),
    );
    deadline.signal?.addEventListener("abort", onAbort);
    promise.then(
      (value) => (cleanUp(), resolve(value)),
      (error) => (cleanUp(), reject(error)),
    );
  });
}

/** Waits until a promise settles, for `ms` milliseconds at most; never rejects. */
export async function settledWithin(
  promise: Promise<unknown>,
  ms: number,
): Promise<void> {
  const deadline = { at: performance.now() + ms };
  await withDeadline(promise, deadline, () => undefined).catch(() => {});
}

/**
 * Resolves after `ms` milliseconds, or at the deadline if that is earlier; rejects with the signal's reason if the
 * signal fires.
 */
export function delay(ms: number, deadline: Deadline): Promise<void> {
  const endAt = Math.min(performance.now() + ms, deadline.at);
  return new Promise((resolve, reject) => {
    if (deadline.signal?.aborted) return reject(deadline.signal.reason);
    const onAbort =
      () => (clearDeadline(timer), reject(deadline.signal?.reason));
    const timer = setDeadline(endAt, () => {
      deadline.signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    deadline.signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/**
 * Runs one step of a shutdown with a time limit, and logs its failure. `deadline` is in milliseconds of
 * `performance.now()`.
 */
export async function bestEffort(
  step: string,
  work: () => unknown,
  deadline: number,
): Promise<void> {
  const timeoutError = () =>
    new TimeoutError("not finished in time; the shutdown continues without it");
  try {
    await withDeadline(Promise.try(work), { at: deadline }, timeoutError);
  } catch (error) {
    logger("service").error("{what} failed: {error}", {
      what: step,
      error,
    }, step);
  }
}

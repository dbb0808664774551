/** Waiting with an end: a deadline, and a signal that may come sooner. @module */
import { TimeoutError } from "../errors.ts";
import { logger } from "../logging.ts";
import { clearDeadline, setDeadline } from "./timer_wheel.ts";

/** How long something may take: a deadline on the monotonic clock, and a signal that may end it sooner. */
export interface Deadline {
  /** Milliseconds of `performance.now()`; `Infinity` = no limit. */
  readonly at: number;
  /** Ends the wait sooner, with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** `promise`, unless the deadline passes (`late()` is thrown) or the signal fires (its reason is thrown) before. */
export function withDeadline<T>(
  promise: Promise<T>,
  deadline: Deadline,
  timeoutError: () => unknown,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    if (deadline.signal?.aborted) {
      promise.catch(() => {}); // nobody else looks at it
      return reject(deadline.signal.reason);
    }
    const end = () => {
      clearDeadline(waiting);
      deadline.signal?.removeEventListener("abort", aborted);
    };
    const aborted = () => (end(), reject(deadline.signal?.reason));
    const waiting = setDeadline(
      deadline.at,
      () => (end(), reject(timeoutError())),
    );
    deadline.signal?.addEventListener("abort", aborted);
    promise.then(
      (value) => (end(), resolve(value)),
      (error) => (end(), reject(error)),
    );
  });
}

/** Resolves after `ms`, or at the wait's end if that is sooner; rejects with the reason if its signal fires. */
export function delay(ms: number, deadline: Deadline): Promise<void> {
  const until = Math.min(performance.now() + ms, deadline.at);
  return new Promise((resolve, reject) => {
    if (deadline.signal?.aborted) return reject(deadline.signal.reason);
    const aborted =
      () => (clearDeadline(waiting), reject(deadline.signal?.reason));
    const waiting = setDeadline(until, () => {
      deadline.signal?.removeEventListener("abort", aborted);
      resolve();
    });
    deadline.signal?.addEventListener("abort", aborted, { once: true });
  });
}

/** Waits for `work` until `deadline` (milliseconds of `performance.now()`) at most; what goes wrong is logged. */
export async function bestEffort(
  step: string,
  work: () => unknown,
  deadline: number,
): Promise<void> {
  const late = () => new TimeoutError("it takes too long, and is left behind");
  try {
    await withDeadline(Promise.try(work), { at: deadline }, late);
  } catch (error) {
    logger("service").error("{what} failed: {error}", {
      what: step,
      error,
    }, step);
  }
}

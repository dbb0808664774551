/** Waiting with an end: a deadline, and a signal that may come sooner. @module */
import { TimeoutError } from "../errors.ts";
import { log } from "../logging.ts";
import { expireAt, forget } from "./timer_wheel.ts";

/** How long something may take: a deadline on the monotonic clock, and a signal that may end it sooner. */
export interface Wait {
  /** Milliseconds of `performance.now()`; `Infinity` = no limit. */
  readonly deadline: number;
  /** Ends the wait sooner, with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** `promise`, unless the deadline passes (`late()` is thrown) or the signal fires (its reason is thrown) before. */
export function within<T>(
  promise: Promise<T>,
  wait: Wait,
  late: () => unknown,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    if (wait.signal?.aborted) {
      promise.catch(() => {}); // nobody else looks at it
      return reject(wait.signal.reason);
    }
    const end = () => {
      forget(waiting);
      wait.signal?.removeEventListener("abort", aborted);
    };
    const aborted = () => (end(), reject(wait.signal?.reason));
    const waiting = expireAt(wait.deadline, () => (end(), reject(late())));
    wait.signal?.addEventListener("abort", aborted);
    promise.then(
      (value) => (end(), resolve(value)),
      (error) => (end(), reject(error)),
    );
  });
}

/** Resolves after `ms`, or at the wait's end if that is sooner; rejects with the reason if its signal fires. */
export function pause(ms: number, wait: Wait): Promise<void> {
  const until = Math.min(performance.now() + ms, wait.deadline);
  return new Promise((resolve, reject) => {
    if (wait.signal?.aborted) return reject(wait.signal.reason);
    const aborted = () => (forget(waiting), reject(wait.signal?.reason));
    const waiting = expireAt(until, () => {
      wait.signal?.removeEventListener("abort", aborted);
      resolve();
    });
    wait.signal?.addEventListener("abort", aborted, { once: true });
  });
}

/** Waits for `work` until `deadline` (milliseconds of `performance.now()`) at most; what goes wrong is logged. */
export async function leave(
  what: string,
  work: () => unknown,
  deadline: number,
): Promise<void> {
  const late = () => new TimeoutError("it takes too long, and is left behind");
  try {
    await within(Promise.try(work), { deadline }, late);
  } catch (error) {
    log("service").error("{what} failed: {error}", {
      what,
      error,
    }, what);
  }
}

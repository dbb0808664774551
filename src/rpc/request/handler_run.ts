/** One run of a handler, and the time that it may take: `maxDuration` of its procedure. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import { TimeoutError } from "../../errors.ts";

/** Milliseconds that a handler has to end after its signal has fired; no more than it had before. */
const UNWIND_TIMEOUT_MS = 5_000;

/** From the start of a handler to its end, or to the end of its time. */
export class HandlerRun {
  /** Its start in milliseconds of the monotonic clock; undefined while it does not run. */
  began: number | undefined;
  /** Set when it has run as long as its procedure lets it. */
  overtime: Error | undefined;
  /** True once its attempt has failed while it goes on. */
  left = false;
  /** Settles when it has really ended. */
  work: Promise<unknown> | undefined;
  #waiting: Timer | undefined;
  #fail: (error: Error) => void = () => {};

  /** It starts, and may take `ms`; then `passed` is called with the error that its signal gives. */
  begin(
    name: string,
    ms: number | undefined,
    passed: (error: Error) => void,
  ): void {
    const now = this.began = performance.now();
    if (ms === undefined) return;
    this.#waiting = setDeadline(now + ms, () => {
      const text = `${name} has run for ${ms} ms, its maxDuration`;
      const error = this.overtime = new TimeoutError(text);
      const end = performance.now() + Math.min(ms, UNWIND_TIMEOUT_MS);
      this.#waiting = setDeadline(end, () => {
        this.left = true;
        this.#fail(error);
      });
      passed(error);
    });
  }

  /** What it gives, unless it goes on when its time is over. */
  bounded<T>(work: Promise<T>): Promise<T> {
    this.work = work;
    return new Promise((resolve, reject) => {
      this.#fail = reject;
      work.then(resolve, reject);
    });
  }

  /** It has ended, or its attempt has: its time is counted no longer. */
  end(): void {
    if (!this.left) this.began = undefined;
    this.forget();
  }

  /** Its time is counted no longer. */
  forget(): void {
    if (this.#waiting) clearDeadline(this.#waiting);
  }
}

/** Run of a handler within its time limit, `maxDuration` of its procedure. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import { TimeoutError } from "../../errors.ts";
import { RawResults } from "../dispatch/handler_result.ts";

/** Milliseconds that a handler has to end after its signal has fired, unless its `maxDuration` is shorter. */
const UNWIND_TIMEOUT_MS = 5_000;

/** Run of a handler from its start to its end, or to the end of its time. */
export class HandlerRun {
  /** Values that the handler returned, by their parsed forms. */
  readonly rawResults: RawResults = new RawResults();
  #startedAt: number | undefined;
  #timeout: Error | undefined;
  #detached = false;
  #work: Promise<unknown> | undefined;
  #timer: Timer | undefined;
  #reject: ((error: Error) => void) | undefined;

  /** Start in milliseconds of the monotonic clock; undefined while the handler does not run. */
  get startedAt(): number | undefined {
    return this.#startedAt;
  }

  /** Error of the `maxDuration`; undefined until the handler has run for that time. */
  get timeout(): Error | undefined {
    return this.#timeout;
  }

  /** True if the handler still runs although its attempt has failed. */
  get detached(): boolean {
    return this.#detached;
  }

  /** Settles when the handler has ended, even if that is after its attempt; undefined before the start. */
  get work(): Promise<unknown> | undefined {
    return this.#work;
  }

  /** Starts the handler's time, unless it has begun. After `ms` milliseconds `expired` is called with the error for the handler's signal. */
  start(
    name: string,
    ms: number | undefined,
    expired: (error: Error) => void,
  ): void {
    const startedAt = this.#startedAt ??= performance.now();
    if (ms === undefined || this.#timer) return;
    this.#timer = setDeadline(startedAt + ms, () => {
      const text = `${name} has run for ${ms} ms, its maxDuration`;
      const error = this.#timeout = new TimeoutError(text);
      const end = performance.now() + Math.min(ms, UNWIND_TIMEOUT_MS);
      this.#timer = setDeadline(end, () => {
        this.#detached = true;
        this.#reject?.(error);
      });
      expired(error);
    });
  }

  /** Resolves to the handler's result; rejects if the handler still runs after its time limit. */
  limit<T>(work: Promise<T>): Promise<T> {
    this.#work = work;
    return new Promise((resolve, reject) => {
      this.#reject = reject;
      work.then(resolve, reject);
    });
  }

  /** Ends the time limit, because the handler or its attempt has ended. */
  end(): void {
    if (!this.#detached) this.#startedAt = undefined;
    this.clearTimer();
  }

  /** Lifts the time limit. */
  clearTimer(): void {
    if (this.#timer) clearDeadline(this.#timer);
  }
}

/** A bound on what runs at once. @module */

import { clearDeadline, setDeadline } from "./timer_wheel.ts";
import { IndexedQueue } from "../slot_map.ts";
import type { Deadline } from "./deadline.ts";

/** Until when a turn is waited for. */
export type PermitDeadline = Deadline & { readonly signal: AbortSignal };

/** One request's permit, which it may give back and take again. */
export class Permit {
  readonly #semaphore: Semaphore;
  readonly #wait: () => PermitDeadline;
  #held = false;

  /** Has none yet; `wait` is asked for where there is none at once. */
  constructor(semaphore: Semaphore, wait: () => PermitDeadline) {
    this.#semaphore = semaphore;
    this.#wait = wait;
  }

  /** False if the wait ends before there is one; a promise only where there is none at once. */
  acquire(): boolean | Promise<boolean> {
    if (this.#semaphore.tryAcquire()) return this.#held = true;
    return this.#semaphore.acquire(this.#wait()).then((held) =>
      this.#held = held
    );
  }

  /** Gives it back. */
  release = (): void => {
    if (this.#held) this.#semaphore.release();
    this.#held = false;
  };
}

/** Permits, handed out in order of asking. */
export class Semaphore {
  #limit: number;
  /** Below 0 while more are out than a lowered limit allows. */
  #free: number;
  readonly #waiting = new IndexedQueue<(held: boolean) => void>();

  /** `limit` at once. */
  constructor(limit: number) {
    this.#limit = this.#free = limit;
  }

  /** How many at once. */
  get limit(): number {
    return this.#limit;
  }

  /** What is out stays out: a lower limit holds when enough has come back. */
  set limit(limit: number) {
    this.#free += limit - this.#limit;
    this.#limit = limit;
    this.#grant();
  }

  /** Takes one at once; false if there is none. */
  tryAcquire(): boolean {
    if (this.#free <= 0) return false;
    this.#free--;
    return true;
  }

  /** Takes one when it is given back; to false if the wait ends before. */
  acquire({ signal, at }: PermitDeadline): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const settle = (held: boolean) => {
        signal.removeEventListener("abort", gaveUp);
        clearDeadline(waiting);
        this.#waiting.delete(place);
        resolve(held);
      };
      const gaveUp = () => settle(false);
      const waiting = setDeadline(at, gaveUp);
      signal.addEventListener("abort", gaveUp);
      const place = this.#waiting.add(settle);
    });
  }

  /** Gives one back. */
  release(): void {
    this.#free++;
    this.#grant();
  }

  #grant(): void {
    while (this.#free > 0) {
      const next = this.#waiting.first;
      if (!next) return;
      this.#free--;
      next(true);
    }
  }
}

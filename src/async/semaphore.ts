/** Semaphore that limits how much runs at once. @module */

import { clearDeadline, setDeadline } from "./timer_wheel.ts";
import { IndexedQueue } from "../slot_map.ts";
import type { Deadline } from "./deadline.ts";

/** Deadline of a wait for a permit. */
export type PermitDeadline = Deadline & { readonly signal: AbortSignal };

/** Permit of one request, which may release and acquire it repeatedly. */
export class Permit {
  readonly #semaphore: Semaphore;
  readonly #deadline: () => PermitDeadline;
  #held = false;

  /** Creates a permit that is not held. `deadline` is called only when a permit has to be waited for. */
  constructor(semaphore: Semaphore, deadline: () => PermitDeadline) {
    this.#semaphore = semaphore;
    this.#deadline = deadline;
  }

  /** Acquires the permit; false if the wait ends without one. Returns a promise only if none is free at once. */
  acquire(): boolean | Promise<boolean> {
    if (this.#semaphore.tryAcquire()) return this.#held = true;
    return this.#semaphore.acquire(this.#deadline()).then((held) =>
      this.#held = held
    );
  }

  /** Releases the permit, if it is held. */
  readonly release = (): void => {
    if (this.#held) this.#semaphore.release();
    this.#held = false;
  };
}

/** Counting semaphore. Waiters get permits in the order of their requests. */
export class Semaphore {
  #limit: number;
  /** Free permits; below 0 while more are held than a lowered limit allows. */
  #free: number;
  readonly #waiters = new IndexedQueue<(held: boolean) => void>();

  /** Creates a semaphore with `limit` permits. */
  constructor(limit: number) {
    this.#limit = this.#free = limit;
  }

  /** Number of permits that may be held at once. */
  get limit(): number {
    return this.#limit;
  }

  /** Changes the number of permits. A lower limit takes effect as held permits are released. */
  set limit(limit: number) {
    this.#free += limit - this.#limit;
    this.#limit = limit;
    this.#grant();
  }

  /** Acquires a permit if one is free; returns false otherwise. */
  tryAcquire(): boolean {
    if (this.#free <= 0) return false;
    this.#free--;
    return true;
  }

  /** Acquires a permit, and waits for one if none is free. Resolves to false if the wait ends without one. */
  acquire({ signal, at }: PermitDeadline): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const finish = (held: boolean) => {
        signal.removeEventListener("abort", giveUp);
        clearDeadline(timer);
        this.#waiters.delete(position);
        resolve(held);
      };
      const giveUp = () => finish(false);
      const timer = setDeadline(at, giveUp);
      signal.addEventListener("abort", giveUp);
      const position = this.#waiters.add(finish);
    });
  }

  /** Releases a permit. */
  release(): void {
    this.#free++;
    this.#grant();
  }

  #grant(): void {
    while (this.#free > 0) {
      const waiter = this.#waiters.first;
      if (!waiter) return;
      this.#free--;
      waiter(true);
    }
  }
}

/** A bound on what runs at once. @module */

import { expireAt, forget } from "./timer_wheel.ts";
import { Line } from "../slot_map.ts";
import type { Wait } from "./deadline.ts";

/** Until when a turn is waited for. */
export type TurnWait = Wait & { readonly signal: AbortSignal };

/** One request's permit, which it may give back and take again. */
export class Turn {
  readonly #permits: Permits;
  readonly #wait: () => TurnWait;
  #held = false;

  /** Has none yet; `wait` is asked for where there is none at once. */
  constructor(permits: Permits, wait: () => TurnWait) {
    this.#permits = permits;
    this.#wait = wait;
  }

  /** False if the wait ends before there is one; a promise only where there is none at once. */
  take(): boolean | Promise<boolean> {
    if (this.#permits.take()) return this.#held = true;
    return this.#permits.queue(this.#wait()).then((held) => this.#held = held);
  }

  /** Gives it back. */
  free = (): void => {
    if (this.#held) this.#permits.give();
    this.#held = false;
  };
}

/** Permits, handed out in order of asking. */
export class Permits {
  #limit: number;
  /** Below 0 while more are out than a lowered limit allows. */
  #free: number;
  readonly #waiting = new Line<(held: boolean) => void>();

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
  take(): boolean {
    if (this.#free <= 0) return false;
    this.#free--;
    return true;
  }

  /** Takes one when it is given back; to false if the wait ends before. */
  queue({ signal, deadline }: TurnWait): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const settle = (held: boolean) => {
        signal.removeEventListener("abort", gaveUp);
        forget(waiting);
        this.#waiting.delete(place);
        resolve(held);
      };
      const gaveUp = () => settle(false);
      const waiting = expireAt(deadline, gaveUp);
      signal.addEventListener("abort", gaveUp);
      const place = this.#waiting.add(settle);
    });
  }

  /** Gives one back. */
  give(): void {
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

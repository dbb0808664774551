/** A bound on what runs at once: a permit is given back by disposing it. @module */

import { expireAt, forget } from "../deadlines.ts";
import type { Wait } from "../wait.ts";

/** Until when a turn is waited for. */
export type TurnWait = Wait & { readonly signal: AbortSignal };

/** One request's permit, which it may give back and take again. */
export class Turn {
  readonly #permits: Permits;
  readonly #wait: TurnWait;
  #permit: Disposable | undefined;

  /** Has none yet. */
  constructor(permits: Permits, wait: TurnWait) {
    this.#permits = permits;
    this.#wait = wait;
  }

  /** False if the wait ends before there is one. */
  async take(): Promise<boolean> {
    this.#permit = await this.#permits.acquire(this.#wait);
    return this.#permit !== undefined;
  }

  /** Gives it back. */
  free = (): void => {
    this.#permit?.[Symbol.dispose]();
    this.#permit = undefined;
  };
}

/** Permits, handed out in order of asking. */
export class Permits {
  #limit: number;
  /** Below 0 while more are out than a lowered limit allows. */
  #free: number;
  readonly #waiting = new Set<(permit: Disposable) => void>();

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

  /** A permit, now or when one is given back; undefined if the wait ends before. */
  acquire(
    { signal, deadline }: TurnWait,
  ): Disposable | undefined | Promise<Disposable | undefined> {
    if (signal.aborted || performance.now() >= deadline) return undefined;
    if (this.#free > 0) {
      this.#free--;
      return this.#permit();
    }
    return new Promise((resolve) => {
      const given = (permit: Disposable | undefined) => {
        signal.removeEventListener("abort", gaveUp);
        forget(waiting);
        this.#waiting.delete(given);
        resolve(permit);
      };
      const gaveUp = () => given(undefined);
      const waiting = expireAt(deadline, gaveUp);
      signal.addEventListener("abort", gaveUp);
      this.#waiting.add(given);
    });
  }

  #permit(): Disposable {
    let held = true;
    return {
      [Symbol.dispose]: () => {
        if (held) this.#release();
        held = false;
      },
    };
  }

  #release(): void {
    this.#free++;
    this.#grant();
  }

  #grant(): void {
    while (this.#free > 0) {
      const [next] = this.#waiting;
      if (!next) return;
      this.#free--;
      next(this.#permit());
    }
  }
}

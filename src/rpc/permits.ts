/** A bound on what runs at once: a permit is given back by disposing it. @module */

/** Permits, handed out in order of asking. */
export class Permits {
  #free: number;
  readonly #waiting: ((permit: Disposable) => void)[] = [];

  /** `limit` at once. */
  constructor(limit: number) {
    this.#free = limit;
  }

  /** A permit, now or when one is given back. */
  acquire(): Disposable | Promise<Disposable> {
    if (this.#free === 0) {
      return new Promise((resolve) => this.#waiting.push(resolve));
    }
    this.#free--;
    return this.#permit();
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
    const next = this.#waiting.shift();
    if (next) next(this.#permit());
    else this.#free++;
  }
}

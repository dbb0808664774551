/** A bound on what runs at once: a permit is given back by disposing it. @module */

/** Permits, handed out in order of asking. */
export class Permits {
  #free: number;
  readonly #waiting = new Set<(permit: Disposable) => void>();

  /** `limit` at once. */
  constructor(limit: number) {
    this.#free = limit;
  }

  /** A permit, now or when one is given back; undefined if the signal fires before. */
  acquire(
    signal: AbortSignal,
  ): Disposable | undefined | Promise<Disposable | undefined> {
    if (signal.aborted) return undefined;
    if (this.#free > 0) {
      this.#free--;
      return this.#permit();
    }
    return new Promise((resolve) => {
      const given = (permit: Disposable | undefined) => {
        signal.removeEventListener("abort", gaveUp);
        this.#waiting.delete(given);
        resolve(permit);
      };
      const gaveUp = () => given(undefined);
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
    const [next] = this.#waiting;
    if (next) next(this.#permit());
    else this.#free++;
  }
}

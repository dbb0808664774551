/** Waits for the next change of a state. @module */

/** A state whose changes others wait for. */
export class StateChange {
  #change = Promise.withResolvers<void>();

  /** Resolves at the next change. */
  get next(): Promise<void> {
    return this.#change.promise;
  }

  /** Resolves all waits. */
  notify(): void {
    const change = this.#change;
    this.#change = Promise.withResolvers();
    change.resolve();
  }
}

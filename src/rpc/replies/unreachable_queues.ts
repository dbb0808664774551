/** Callers' queues that were gone for good: what is meant for them is not tried again and again. @module */

/** Milliseconds that a queue is remembered, and how many are (oslo.messaging: 60 s, 200). */
const MEMORY = 60_000;
const MOST = 200;

/** Remembers them for a while. */
export class GoneQueues {
  readonly #until = new Map<string, number>();

  /** True if it was gone a short while ago. */
  has(queue: string): boolean {
    return (this.#until.get(queue) ?? 0) > performance.now();
  }

  /** It is gone. */
  add(queue: string): void {
    this.#until.delete(queue);
    this.#until.set(queue, performance.now() + MEMORY);
    const [oldest] = this.#until.keys();
    if (this.#until.size > MOST && oldest) this.#until.delete(oldest);
  }
}

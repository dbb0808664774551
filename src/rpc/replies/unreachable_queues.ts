/** Memory of the reply queues that did not exist. @module */

/**
 * Milliseconds for which an unreachable queue is remembered, and maximum number of such queues (oslo.messaging: 60 s,
 * 200).
 */
const MEMORY_MS = 60_000;
const MAX_QUEUES = 200;

/** Queues that did not exist within the last minute. A reply to such a queue is tried only once. */
export class UnreachableQueues {
  readonly #until = new Map<string, number>();

  /** True if the queue was unreachable in the last minute. */
  has(queue: string): boolean {
    return (this.#until.get(queue) ?? 0) > performance.now();
  }

  /** Remembers a queue; of more than 200 queues, the oldest one is forgotten. */
  add(queue: string): void {
    this.#until.delete(queue);
    this.#until.set(queue, performance.now() + MEMORY_MS);
    const [oldest] = this.#until.keys();
    if (this.#until.size > MAX_QUEUES && oldest) this.#until.delete(oldest);
  }
}

/** Queue between a producer that pushes and a reader that pulls. @module */

/** Maximum number of unread items. Above it, the oldest item is dropped. */
const MAX_QUEUED_ITEMS = 20_000;

/** Queue of one reader. */
export class AsyncQueue<T> {
  readonly #items: T[] = [];
  #pendingRead: PromiseWithResolvers<void> | undefined;
  #end: { readonly error?: unknown } | undefined;

  /** Adds an item; ignored after the end. */
  push(item: T): void {
    if (this.#end) return;
    this.#items.push(item);
    if (this.#items.length > MAX_QUEUED_ITEMS) this.#items.shift();
    this.#pendingRead?.resolve();
  }

  /** Ends the queue. The reader still gets the items that are queued, then the error is thrown, if there is one. */
  end(end: { readonly error?: unknown } = {}): void {
    this.#end ??= end;
    this.#pendingRead?.resolve();
  }

  /** Yields the items as they arrive. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      while (this.#items.length > 0) yield this.#items.shift() as T;
      if (this.#end) break;
      this.#pendingRead = Promise.withResolvers();
      await this.#pendingRead.promise;
    }
    if ("error" in this.#end) throw this.#end.error;
  }
}

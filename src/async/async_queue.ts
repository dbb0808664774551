/** What arrives by itself on its way to whoever pulls it. @module */

/** Items that wait at most; of what comes faster than it is pulled, the newest are kept. */
const MAX_ITEMS = 20_000;

/** A queue of one reader. */
export class AsyncQueue<T> {
  readonly #items: T[] = [];
  #waiting: PromiseWithResolvers<void> | undefined;
  #end: { readonly error?: unknown } | undefined;

  /** Adds one; nothing after the end. */
  push(item: T): void {
    if (this.#end) return;
    this.#items.push(item);
    if (this.#items.length > MAX_ITEMS) this.#items.shift();
    this.#waiting?.resolve();
  }

  /** No more comes; what is here is still given, then the error is thrown, if there is one. */
  end(end: { readonly error?: unknown } = {}): void {
    this.#end ??= end;
    this.#waiting?.resolve();
  }

  /** All of them, as they come. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      while (this.#items.length > 0) yield this.#items.shift() as T;
      if (this.#end) break;
      this.#waiting = Promise.withResolvers();
      await this.#waiting.promise;
    }
    if ("error" in this.#end) throw this.#end.error;
  }
}

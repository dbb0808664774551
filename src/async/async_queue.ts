/** What arrives by itself on its way to whoever pulls it. @module */

/** Items that wait at most; of what comes faster than it is pulled, the newest are kept. */
const MOST = 20_000;

/** A queue of one reader. */
export class Arrivals<T> {
  readonly #here: T[] = [];
  #waiting: PromiseWithResolvers<void> | undefined;
  #end: { readonly error?: unknown } | undefined;

  /** Adds one; nothing after the end. */
  push(item: T): void {
    if (this.#end) return;
    this.#here.push(item);
    if (this.#here.length > MOST) this.#here.shift();
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
      while (this.#here.length > 0) yield this.#here.shift() as T;
      if (this.#end) break;
      this.#waiting = Promise.withResolvers();
      await this.#waiting.promise;
    }
    if ("error" in this.#end) throw this.#end.error;
  }
}

/** The stream of a multicall whose client has interceptors. @module */
import { InvalidValueError } from "../../errors.ts";

type Step = IteratorResult<unknown, void>;
type Items = AsyncGenerator<unknown, void, undefined>;

const DONE: Step = Object.freeze({ done: true, value: undefined });

/**
 * The items that the outermost interceptor gives. Lazy: the interceptors are called at the first `next()`. Leaving the
 * stream ends those of the workers first, so that an interceptor that awaits an item sees their end.
 */
export class InterceptedStream implements Items {
  readonly #name: string;
  readonly #open: (opened: (items: Items) => void) => Promise<unknown>;
  /** Streams of workers that the interceptors have opened: one, unless an interceptor tries again. */
  readonly #opened: Items[] = [];
  #iterator: AsyncIterator<unknown> | undefined;
  #done = false;
  /** Steps are taken one after the other, however they are asked for. */
  #tail: Promise<unknown> = Promise.resolve();

  /** `open` calls the interceptors, and notes each stream of a worker; `name` is for the text of errors. */
  constructor(
    name: string,
    open: (opened: (items: Items) => void) => Promise<unknown>,
  ) {
    this.#name = name;
    this.#open = open;
  }

  next(): Promise<Step> {
    const step = this.#tail.then(() => this.#step());
    this.#tail = step.catch(() => {});
    return step;
  }

  async return(): Promise<Step> {
    if (this.#done) return DONE;
    this.#done = true;
    for (const items of this.#opened) await items.return();
    await this.#iterator?.return?.();
    return DONE;
  }

  async throw(error: unknown): Promise<Step> {
    await this.return();
    throw error;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  async #step(): Promise<Step> {
    if (this.#done) return DONE;
    try {
      this.#iterator ??= await this.#begin();
      const step = await this.#iterator.next();
      if (!step.done) return step;
    } catch (error) {
      await this.#leave();
      throw error;
    }
    await this.#leave();
    return DONE;
  }

  async #begin(): Promise<AsyncIterator<unknown>> {
    const result = await this.#open((items) => {
      this.#opened.push(items);
      if (this.#done) void items.return(); // the reader has left meanwhile
    });
    const start = (result as Partial<AsyncIterable<unknown>> | null | undefined)
      ?.[Symbol.asyncIterator];
    if (typeof start === "function") return Reflect.apply(start, result, []);
    throw new InvalidValueError(
      `Invalid result of an interceptor of ${this.#name}: give an async iterable, e.g. what next() resolves with`,
    );
  }

  /** Ends streams of workers that an interceptor did not read to their end. */
  async #leave(): Promise<void> {
    this.#done = true;
    for (const items of this.#opened) await items.return();
  }
}

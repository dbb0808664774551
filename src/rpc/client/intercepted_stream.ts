/** The stream of a multicall whose client has interceptors. @module */
import { settledWithin, withDeadline } from "../../async/deadline.ts";
import { InvalidValueError, TimeoutError } from "../../errors.ts";
import type { CallLimits } from "./call_limits.ts";

type Step = IteratorResult<unknown, void>;
type Items = AsyncGenerator<unknown, void, undefined>;

const DONE: Step = Object.freeze({ done: true, value: undefined });
/** Reasons for which a step ends early: its reader left, and nothing has happened for the time limit. */
const LEFT = Symbol("left");
const SILENT = Symbol("silent");
/** Milliseconds that the stream of an interceptor may take to clean up after its reader has left. */
const RETURN_TIMEOUT_MS = 1_000;

/** A multicall with interceptors. */
export interface InterceptedCall {
  /** Name for the text of errors, `<topic>.<procedure>`. */
  readonly name: string;
  /** Fires when the connection is disposed. */
  readonly disposal: AbortSignal;
  /** Returns the time limits; called at the first step. */
  readonly limits: () => CallLimits;
  /** Calls the interceptors, and passes each stream of a worker through `track`. */
  readonly open: (
    track: (items: Items) => AsyncIterable<unknown>,
  ) => Promise<unknown>;
}

/**
 * The items that the outermost interceptor gives. Lazy: the interceptors are called at the first `next()`. Leaving the
 * stream ends those of the workers first, so that an interceptor that awaits an item sees their end. A pending `next()`
 * ends at once when the reader leaves, the signal fires or the connection is disposed, and when neither a worker nor an
 * interceptor has given an item for the timeout.
 */
export class InterceptedStream implements Items {
  readonly #call: InterceptedCall;
  /** Streams of workers that the interceptors have opened: one, unless an interceptor tries again. */
  readonly #opened: Items[] = [];
  readonly #leaving = new AbortController();
  #limits: CallLimits | undefined;
  #signal: AbortSignal = this.#leaving.signal;
  #iterator: AsyncIterator<unknown> | undefined;
  #exhausted = false;
  #done = false;
  /** Steps of workers' streams that are awaited, and the moment at which the last one has settled. */
  #awaited = 0;
  #activeAt = 0;
  /** Steps are taken one after the other, however they are asked for. */
  #tail: Promise<unknown> = Promise.resolve();

  /** Nothing is called before the first `next()`. */
  constructor(call: InterceptedCall) {
    this.#call = call;
  }

  next(): Promise<Step> {
    const step = this.#tail.then(() => this.#step());
    this.#tail = step.catch(() => {});
    return step;
  }

  async return(): Promise<Step> {
    if (this.#done) return DONE;
    const finished = this.#finish();
    this.#leaving.abort(LEFT);
    await settledWithin(finished, RETURN_TIMEOUT_MS);
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
      const step = await this.#limited();
      if (!step.done) return step;
    } catch (error) {
      if (error === LEFT) return DONE;
      void this.#finish();
      throw error;
    }
    void this.#finish();
    return DONE;
  }

  /** Takes a step within the limits. While a stream of a worker is awaited, that one's own limits hold. */
  async #limited(): Promise<Step> {
    const { timeout } = this.#limits ??= this.#start();
    this.#signal.throwIfAborted();
    this.#activeAt = performance.now();
    const step = this.#pull();
    for (;;) {
      const deadline = { at: this.#activeAt + timeout, signal: this.#signal };
      try {
        return await withDeadline(step, deadline, () => SILENT);
      } catch (error) {
        if (error !== SILENT) throw error;
        const now = performance.now();
        if (this.#awaited > 0) this.#activeAt = now;
        else if (this.#activeAt + timeout <= now) throw this.#silence(timeout);
      }
    }
  }

  #start(): CallLimits {
    const { limits, disposal } = this.#call;
    const started = limits();
    const { signal } = started.deadline;
    this.#signal = AbortSignal.any(
      [this.#leaving.signal, disposal, ...(signal ? [signal] : [])],
    );
    return started;
  }

  #silence(timeout: number): TimeoutError {
    const ms = Math.round(timeout);
    return new TimeoutError(
      `Nothing came from the interceptors of ${this.#call.name} for ${ms} ms`,
      { inDoubt: this.#opened.length > 0 },
    );
  }

  async #pull(): Promise<Step> {
    this.#iterator ??= await this.#begin();
    try {
      const step = await this.#iterator.next();
      if (!step.done) return step;
    } catch (error) {
      this.#exhausted = true;
      throw error;
    }
    this.#exhausted = true;
    return DONE;
  }

  async #begin(): Promise<AsyncIterator<unknown>> {
    const { name, open } = this.#call;
    const result = await open((items) => this.#track(items));
    const start = (result as Partial<AsyncIterable<unknown>> | null | undefined)
      ?.[Symbol.asyncIterator];
    if (typeof start !== "function") {
      throw new InvalidValueError(
        `Invalid result of an interceptor of ${name}: give an async iterable, e.g. what next() resolves with`,
      );
    }
    const iterator: AsyncIterator<unknown> = Reflect.apply(start, result, []);
    if (!this.#done) return iterator;
    await iterator.return?.();
    throw LEFT; // the reader has left meanwhile
  }

  /** Notes a stream of a worker, and returns its items for the interceptors. */
  #track(items: Items): AsyncIterable<unknown> {
    this.#opened.push(items);
    if (this.#done) void items.return(); // the reader has left meanwhile
    const take = async () => {
      this.#awaited++;
      try {
        return await items.next();
      } finally {
        this.#awaited--;
        this.#activeAt = performance.now();
      }
    };
    const tracked: AsyncIterableIterator<unknown, void, undefined> = {
      next: () => {
        const step = take();
        step.catch(() => {}); // an interceptor may read ahead
        return step;
      },
      return: () => items.return(),
      [Symbol.asyncIterator]: () => tracked,
    };
    return tracked;
  }

  /** Ends all streams; resolves when that of the interceptors has ended, and never rejects. */
  async #finish(): Promise<void> {
    this.#done = true;
    for (const items of this.#opened) void items.return();
    if (this.#exhausted) return;
    await Promise.try(() => this.#iterator?.return?.()).catch(() => {});
  }
}

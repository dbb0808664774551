/** The streams of one request whose service has interceptors. @module */
import { settledWithin } from "../../async/deadline.ts";
import type { RequestContext } from "../../contract/request_context.ts";
import { runWithContext } from "../propagation.ts";
import type { ServedProcedure } from "./dispatcher.ts";
import { markHandlerError } from "./handler_result.ts";
import {
  cancellableStream,
  isStream,
  RETURN_TIMEOUT_MS,
} from "./handler_stream.ts";

type Step = IteratorResult<unknown, unknown>;

const DONE: Step = Object.freeze({ done: true, value: undefined });

/**
 * The streams that interceptors get from `next`, and the one that they answer with. Each step of the answer runs in the
 * context of the request, and its error counts as thrown by the handler.
 */
export class InterceptedStreams {
  readonly #context: RequestContext;
  readonly #served: ServedProcedure | undefined;
  /** Streams of handlers: one, unless an interceptor tries again. */
  readonly #opened: OpenedStream[] = [];
  #left = false;

  /** `served` is the procedure of the request, if it is known. */
  constructor(context: RequestContext, served: ServedProcedure | undefined) {
    this.#context = context;
    this.#served = served;
  }

  /** Runs a step of the interceptors in the context of the request. */
  async step<T>(work: () => T | PromiseLike<T>): Promise<T> {
    return await runWithContext(
      this.#context,
      work,
      (error) => markHandlerError(error, this.#served?.contract.errors),
    );
  }

  /** Returns the result of a dispatch for the interceptors. */
  open(result: unknown): unknown {
    if (!isStream(result)) return result;
    const opened = new OpenedStream(result);
    this.#opened.push(opened);
    if (this.#left) void opened.return().catch(() => {}); // the interceptors have ended meanwhile
    return opened;
  }

  /** Returns the result of a request for the result of its interceptors. */
  async wrap(result: unknown): Promise<unknown> {
    if (result instanceof OpenedStream) return result.items;
    if (isStream(result)) return this.#guard(result);
    await this.#leave();
    return result;
  }

  /** Ends the streams of interceptors that have failed. */
  async fail(error: unknown): Promise<never> {
    await this.#leave();
    throw error;
  }

  #guard(items: AsyncIterable<unknown>): AsyncIterable<unknown> {
    let iterator: AsyncIterator<unknown> | undefined;
    const source: AsyncIterator<unknown> = {
      next: () => this.#next(iterator ??= items[Symbol.asyncIterator]()),
      return: async () => {
        const returned = Promise.try(() => iterator?.return?.());
        // An interceptor that awaits something other than an item does not return.
        await Promise.all([returned, this.#leave()]);
        return DONE;
      },
    };
    return cancellableStream({
      open: () => source,
      signal: this.#context.signal,
      step: (work) => this.step(work),
      item: (value) => value,
    });
  }

  async #next(iterator: AsyncIterator<unknown>): Promise<Step> {
    try {
      const step = await iterator.next();
      if (!step.done) return step;
    } catch (error) {
      return await this.fail(error);
    }
    await this.#leave();
    return DONE;
  }

  /** Ends streams of handlers that the interceptors did not read to their end, within a second. */
  async #leave(): Promise<void> {
    this.#left = true;
    if (this.#opened.length === 0) return;
    const returned = this.#opened.map((each) => each.return());
    await settledWithin(Promise.all(returned), RETURN_TIMEOUT_MS);
  }
}

/** Stream of a handler. A rejected step counts as handled, since an interceptor may read ahead. */
class OpenedStream implements AsyncIterableIterator<unknown> {
  /** The items as the dispatcher returned them. */
  readonly items: AsyncIterable<unknown>;
  #iterator: AsyncIterator<unknown> | undefined;

  constructor(items: AsyncIterable<unknown>) {
    this.items = items;
  }

  next(): Promise<Step> {
    this.#iterator ??= this.items[Symbol.asyncIterator]();
    const step = this.#iterator.next();
    step.catch(() => {});
    return step;
  }

  async return(): Promise<Step> {
    this.#iterator ??= this.items[Symbol.asyncIterator]();
    await this.#iterator.return?.();
    return DONE;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

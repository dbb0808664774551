/** Iterator of `multicall`: lazy, for one iteration, and ended by `return()` even while an item is awaited. @module */
import type { ErrorClasses, Reply } from "../../wire/mod.ts";
import type { CallResult } from "./unary_call.ts";
import { NoRouteError } from "../../errors.ts";
import type { StreamFailure } from "../streams/stream_receiver.ts";
import type { StreamCall, StreamCaller } from "./stream_call.ts";

/** Source of the items of a stream. */
export interface StreamSource<T> {
  /** Sends the request; passes the stream to `caller` as soon as it is open, and resolves to the first reply. */
  begin(caller: StreamCaller): Promise<Reply>;
  /** Returns the item in a reply. */
  item(reply: Reply): T | Promise<T>;
  /** Called once at the end of the stream: all items were read, the reader left, or the stream failed, pulled or not. */
  end(failure: StreamFailure | undefined): void;
}

type Step<T> = IteratorResult<T, void>;

/** True if a reply has an item. The ending of a stream has one only if the reply is a single message. */
function hasItem({ ending, failure, sequence, result }: Reply): boolean {
  if (!ending || failure) return true;
  return sequence === undefined && result !== null && result !== undefined;
}

/**
 * Iterator over the items of a stream. It differs from an async generator in one point: `return()` ends a pending `next()`
 * instead of waiting for it.
 */
export class StreamIterator<T> implements AsyncGenerator<T, void, undefined> {
  readonly #source: StreamSource<T>;
  #open: StreamCall | undefined;
  #begun = false;
  #ended = false;
  #done = false;
  /** Last requested step. Concurrent `next()` calls run one after another. */
  #tail: Promise<unknown> = Promise.resolve();

  /** Sends nothing before the first `next()`. */
  constructor(source: StreamSource<T>) {
    this.#source = source;
  }

  next(): Promise<Step<T>> {
    const step = this.#tail.then(() => this.#step());
    this.#tail = step.catch(() => {});
    return step;
  }

  return(): Promise<Step<T>> {
    this.#finish(true);
    return Promise.resolve({ done: true, value: undefined });
  }

  throw(error: unknown): Promise<Step<T>> {
    this.#finish(true);
    return Promise.reject(error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  async #step(): Promise<Step<T>> {
    if (this.#done) return { done: true, value: undefined };
    let complete = false;
    try {
      const reply = await this.#reply();
      complete = reply.ending;
      const step: Step<T> = hasItem(reply)
        ? { done: false, value: await this.#source.item(reply) }
        : { done: true, value: undefined };
      if (complete) this.#finish(false);
      return step;
    } catch (error) {
      if (this.#done && error === CLOSED) {
        return { done: true, value: undefined };
      }
      const cancel = !complete && !(error instanceof NoRouteError);
      this.#finish(cancel, { cause: error });
      throw error;
    }
  }

  #reply(): Promise<Reply> {
    if (this.#begun && this.#open) return this.#open.receiver.next();
    this.#begun = true;
    return this.#source.begin({
      opened: (stream) => {
        this.#open = stream;
        if (!this.#done) return;
        stream.close(true);
        throw CLOSED;
      },
      ended: (failure) => {
        // Where there is no route, the request may be sent again.
        if (!(failure?.cause instanceof NoRouteError)) this.#end(failure);
      },
    });
  }

  #end(failure?: StreamFailure): void {
    if (!this.#ended) this.#source.end(failure);
    this.#ended = true;
  }

  #finish(cancel: boolean, failure?: StreamFailure): void {
    this.#end(failure);
    this.#done = true;
    this.#open?.receiver.fail(CLOSED, true); // rejects a pending `next()`
    this.#open?.close(cancel);
  }
}

/** Marker for a stream that its reader has ended, which is no error. */
const CLOSED = Symbol("left");

/** Converts the replies of a stream into its items. */
export interface StreamDecoder<T> {
  /** Error classes of the contract. */
  readonly errors?: ErrorClasses | undefined;
  /** Runs before the request is sent, e.g. to check its arguments. */
  prepare?(): Promise<unknown>;
  /** Converts one result into an item. */
  item(result: CallResult): T | Promise<T>;
}

/** Decoder of an untyped stream, whose items are not checked. */
export const untypedStream: StreamDecoder<unknown> = {
  item: ({ value }) => value,
};

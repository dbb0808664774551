/** Streams of items that a handler returns. @module */
import { InvalidResultError, InvalidValueError } from "../../errors.ts";
import { oneLine } from "../../logging.ts";
import { settledWithin } from "../../async/deadline.ts";
import type { RequestContext } from "../../contract/request_context.ts";
import type { Contract } from "../../contract/types.ts";
import {
  callHandler,
  markDispatchError,
  parseResult,
} from "./handler_result.ts";
import type { Schema } from "../../contract/schema.ts";

/** Milliseconds that a source may take to clean up, where the stream was cancelled while an item was awaited. */
export const RETURN_TIMEOUT_MS = 1_000;

/**
 * Returns the iterator of a source. A `ReadableStream` is read by a reader, because its own iterator cancels the stream
 * only after the next chunk.
 */
function iteratorOf(items: unknown, what: string): AsyncIterator<unknown> {
  if (items instanceof ReadableStream) {
    const reader = items.getReader();
    const end = { done: true, value: undefined } as const;
    return {
      next: async () => {
        const { done, value } = await reader.read();
        return done ? end : { done, value };
      },
      return: async () => {
        await reader.cancel();
        return end;
      },
    };
  }
  const start = (items as Partial<AsyncIterable<unknown>> | undefined)
    ?.[Symbol.asyncIterator];
  if (typeof start === "function") return Reflect.apply(start, items, []);
  throw markDispatchError(
    new InvalidResultError(
      `Invalid result of ${what}: give an async iterable, e.g. an async generator`,
    ),
  );
}

/** Yields the parsed items of a handler's stream, each step of which runs in the context of the request. */
export function handlerStream(
  contract: Contract,
  name: string,
  items: unknown,
  context: RequestContext,
): AsyncGenerator<unknown, void, undefined> {
  const schema = contract.procedures[name]?.yields as Schema;
  const what = `${contract.topic}.${name}`;
  return cancellableStream({
    open: () => iteratorOf(items, what),
    signal: context.signal,
    step: async (work) => await callHandler(contract, context, work),
    item: (value) => parseResult(schema, value, `item of ${what}`, context),
  });
}

/** Source of a stream, and the way in which its steps run. */
interface StreamSource {
  /** Returns the iterator; called at the first step. */
  readonly open: () => AsyncIterator<unknown>;
  /** Signal of the request. */
  readonly signal: AbortSignal;
  /** Runs a step in the context of the request: the body of a generator would otherwise run in that of its consumer. */
  readonly step: <T>(work: () => T | PromiseLike<T>) => Promise<T>;
  /** Returns the item for a value of the source. */
  readonly item: (value: unknown) => unknown;
}

/**
 * Yields the items of a source. When the signal of the request fires, the stream ends at once, also while an item is
 * awaited; the source is told to return, and has a second to do so, since a generator returns only after its pending step.
 */
export async function* cancellableStream(
  { open, signal, step, item }: StreamSource,
): AsyncGenerator<unknown, void, undefined> {
  const iterator = open();
  const steps = new AbortableSteps(signal);
  let ended = false, cancelled = false;
  try {
    while (!signal.aborted) {
      let next: IteratorResult<unknown>;
      try {
        next = await steps.result(step(() => iterator.next()));
      } catch (error) {
        cancelled = signal.aborted && error === signal.reason;
        ended = !cancelled;
        if (cancelled) return;
        throw error;
      }
      ended = next.done === true;
      if (ended) return;
      yield item(next.value); // which awaits the item
    }
  } finally {
    steps[Symbol.dispose]();
    if (!ended) {
      const returned = step(() => iterator.return?.());
      await (cancelled ? settledWithin(returned, RETURN_TIMEOUT_MS) : returned);
    }
  }
}

/** Awaits one step after another; each of them rejects when the signal fires. One listener serves all steps. */
class AbortableSteps implements Disposable {
  readonly #signal: AbortSignal;
  #reject: ((reason: unknown) => void) | undefined;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", this);
  }

  /** Settles as the step does; rejects with the signal's reason if that comes first. */
  result<T>(step: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#reject = reject;
      step.then(resolve, reject);
      if (this.#signal.aborted) this.handleEvent();
    });
  }

  handleEvent(): void {
    this.#reject?.(this.#signal.reason);
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this);
  }
}

/** True for the result of a procedure that streams. */
export function isStream(result: unknown): result is AsyncIterable<unknown> {
  return typeof result === "object" && result !== null &&
    Symbol.asyncIterator in result;
}

/**
 * Creates the error for a cast of a procedure that returns a stream: the stream would never end, since it has no
 * reader.
 */
export function castOfStreamError(method: string): InvalidValueError {
  const what = oneLine(method, 60);
  return new InvalidValueError(`Cannot cast ${what}: it is a stream`);
}

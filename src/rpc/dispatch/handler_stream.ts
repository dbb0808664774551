/** Streams of items that a handler returns. @module */
import { InvalidResultError, InvalidValueError } from "../../errors.ts";
import { oneLine } from "../../logging.ts";
import { settledWithin, withDeadline } from "../../async/deadline.ts";
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
    step: (work) => callHandler(contract, context, work),
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
  const limit = { at: Infinity, signal };
  let ended = false, cancelled = false;
  try {
    while (!signal.aborted) {
      const pending = step(() => iterator.next());
      const racing = withDeadline(pending, limit, () => undefined);
      const next = await racing.catch((error) => {
        cancelled = signal.aborted && error === signal.reason;
        ended = !cancelled;
        if (!cancelled) throw error;
      });
      if (!next) return;
      ended = next.done === true;
      if (ended) return;
      yield await item(next.value);
    }
  } finally {
    if (!ended) {
      const returned = step(() => iterator.return?.());
      await (cancelled ? settledWithin(returned, RETURN_TIMEOUT_MS) : returned);
    }
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

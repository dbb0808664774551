/** Streams on the worker's side. @module */
import { InvalidResultError, InvalidValueError } from "../../errors.ts";
import { oneLine } from "../../logging.ts";
import { withDeadline } from "../../async/deadline.ts";
import type { RequestContext } from "../../contract/request_context.ts";
import type { Contract } from "../../contract/types.ts";
import {
  callHandler,
  isDispatchError,
  markDispatchError,
  parseResult,
} from "./handler_result.ts";
import type { Schema } from "../../contract/schema.ts";

/** Milliseconds that a source has to clean up, where its reader leaves while an item is awaited. */
const RETURN_TIMEOUT_MS = 1_000;

/** Starts a source. The iterator of a `ReadableStream` would cancel it only after its next chunk; a reader does so at once. */
function begin(items: unknown, what: string): AsyncIterator<unknown> {
  if (items instanceof ReadableStream) {
    const reader = items.getReader();
    const over = { done: true, value: undefined } as const;
    return {
      next: async () => {
        const { done, value } = await reader.read();
        return done ? over : { done, value };
      },
      return: async () => {
        await reader.cancel();
        return over;
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

/**
 * The items of a handler's stream, parsed. Each step runs in the request's own context: a generator's body would see
 * that of whoever pulls it. When the request's signal fires, the stream ends at once, also while an item is awaited: the
 * source is told to return, and has a second to do so, since a generator returns only after its pending step.
 */
export async function* handlerStream(
  contract: Contract,
  name: string,
  items: unknown,
  context: RequestContext,
): AsyncGenerator<unknown, void, undefined> {
  const schema = contract.procedures[name]?.yields as Schema;
  const what = `${contract.topic}.${name}`;
  const iterator = begin(items, what);
  const { signal } = context;
  const late = () => undefined;
  let ended = false, left = false;
  try {
    while (!signal.aborted) {
      const pending = callHandler(contract, context, () => iterator.next());
      const told = withDeadline(pending, { at: Infinity, signal }, late);
      const step = await told.catch((error) => {
        left = signal.aborted && error === signal.reason;
        if (!left) throw error;
      });
      if (!step) return;
      ended = step.done === true;
      if (ended) return;
      yield await parseResult(schema, step.value, `item of ${what}`, context);
    }
  } catch (error) {
    ended = isDispatchError(error) ? ended : true;
    throw error;
  } finally {
    if (!ended) {
      const over = callHandler(contract, context, () => iterator.return?.());
      const wait = { at: performance.now() + RETURN_TIMEOUT_MS };
      if (left) await withDeadline(over, wait, late).catch(() => {});
      else await over;
    }
  }
}

/** True for what a procedure that streams gives. */
export function isStream(result: unknown): result is AsyncIterable<unknown> {
  return typeof result === "object" && result !== null &&
    Symbol.asyncIterator in result;
}

/** A stream that nobody reads has no end: it is not begun. */
export function castOfStreamError(method: string): InvalidValueError {
  const what = oneLine(method, 60);
  return new InvalidValueError(`Cannot cast ${what}: it is a stream`);
}

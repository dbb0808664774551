/** Streams on the worker's side. @module */
import { InvalidValueError } from "../errors.ts";
import { oneLine } from "../telemetry.ts";
import type { RequestContext } from "./context.ts";
import type { Contract } from "./contract.ts";
import { checked, handled, isRefusal, refuse } from "./outcome.ts";
import type { Schema } from "./schema.ts";

/**
 * The items of a handler's stream, parsed. Each step runs in the request's own context: a generator's body would see
 * that of whoever pulls it.
 */
export async function* yielded(
  contract: Contract,
  name: string,
  items: unknown,
  context: RequestContext,
): AsyncGenerator<unknown, void, undefined> {
  const schema = contract.procedures[name]?.yields as Schema;
  const what = `${contract.topic}.${name}`;
  const start = (items as Partial<AsyncIterable<unknown>> | undefined)
    ?.[Symbol.asyncIterator];
  if (typeof start !== "function") {
    throw refuse(
      new InvalidValueError(
        `Invalid result of ${what}: give an async iterable, e.g. an async generator`,
      ),
    );
  }
  const iterator: AsyncIterator<unknown> = Reflect.apply(start, items, []);
  let ended = false;
  try {
    for (;;) {
      const step = await handled(contract, context, () => iterator.next());
      ended = step.done === true;
      if (ended) return;
      yield await checked(schema, step.value, `item of ${what}`, context);
    }
  } catch (error) {
    ended = isRefusal(error) ? ended : true;
    throw error;
  } finally {
    if (!ended) {
      await handled(contract, context, () => iterator.return?.());
    }
  }
}

/** True for what a procedure that streams gives. */
export function isStream(result: unknown): result is AsyncIterable<unknown> {
  return typeof result === "object" && result !== null &&
    Symbol.asyncIterator in result;
}

/** A stream that nobody reads has no end: it is not begun. */
export function unwanted(method: string): InvalidValueError {
  const what = oneLine(method, 60);
  return new InvalidValueError(`Cannot cast ${what}: it is a stream`);
}

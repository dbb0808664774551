/**
 * Metadata of a dispatch: whether the dispatcher or the handler failed, which error classes apply, and the raw result of
 * the handler.
 *
 * @module
 */
import {
  type ErrorClass,
  InvalidResultError,
  InvalidValueError,
  RpcError,
} from "../../errors.ts";
import { redactText } from "../../redaction.ts";
import { logger, oneLine } from "../../logging.ts";
import type { RequestContext } from "../../contract/request_context.ts";
import type { Contract } from "../../contract/types.ts";
import { runWithContext } from "../propagation.ts";
import {
  type InvalidClass,
  parse,
  type Schema,
} from "../../contract/schema.ts";
import { observerOf } from "../served_context.ts";

// Stored beside the errors and not in them, so that a dispatcher that wraps another sees plain errors.
const dispatchErrors = new WeakSet<Error>();
const classesOf = new WeakMap<object, Readonly<Record<string, ErrorClass>>>();

const isObject = (value: unknown): value is object =>
  typeof value === "object" && value !== null;

/** True for an error with which the dispatcher rejected a request, so that no handler threw it. */
export function isDispatchError(error: unknown): boolean {
  return error instanceof Error && dispatchErrors.has(error);
}

/** Returns the error classes of the contract whose handler threw the error; none for any other error. */
export function errorClassesOf(
  error: unknown,
): Readonly<Record<string, ErrorClass>> {
  return isObject(error) ? classesOf.get(error) ?? {} : {};
}

/**
 * Marks an error that was thrown around a handler with the error classes of the contract, unless it is marked already.
 */
export function markHandlerError(
  error: unknown,
  errors: Contract["errors"],
): void {
  if (!errors || !isObject(error) || isDispatchError(error)) return;
  if (!classesOf.has(error)) classesOf.set(error, errors);
}

/** Marks an error as one of the dispatcher. */
export function markDispatchError<E extends RpcError>(error: E): E {
  dispatchErrors.add(error);
  return error;
}

const dispatchError = (error: unknown) =>
  error instanceof RpcError ? markDispatchError(error) : error;

/** Runs a check and marks the error that it throws as one of the dispatcher. */
export function asDispatchError<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw dispatchError(error);
  }
}

/**
 * Parses a value and marks the error for an invalid one as one of the dispatcher. Returns a promise only if the schema
 * is asynchronous.
 */
function parseForDispatch(
  schema: Schema,
  value: unknown,
  what: string,
  errorClass: InvalidClass,
): unknown {
  try {
    const parsed = parse(schema, value, what, errorClass);
    return parsed instanceof Promise ? parsed.catch(rethrow) : parsed;
  } catch (error) {
    throw dispatchError(error);
  }
}

function rethrow(error: unknown): never {
  throw dispatchError(error);
}

/** Parses the arguments of a request; returns a promise only if the schema is asynchronous. */
export function parseArgs(
  schema: Schema,
  args: unknown,
  what: string,
): unknown {
  return parseForDispatch(schema, args, what, InvalidValueError);
}

/**
 * Runs a step of a handler and marks the error that it throws with the error classes of the contract. Returns a promise if
 * the step does.
 */
export function callHandler<T>(
  { errors }: Contract,
  context: RequestContext,
  work: () => T | PromiseLike<T>,
): T | Promise<T> {
  return runWithContext(context, work, (error) => {
    if (error instanceof Error) dispatchErrors.delete(error); // the handler called another dispatcher
    if (errors && isObject(error)) classesOf.set(error, errors);
  });
}

/**
 * Parses a value that a handler returned, and reports both to the observer, in case the parsed value is not
 * serializable. Returns a promise only if the schema is asynchronous.
 */
export function parseResult(
  schema: Schema,
  returned: unknown,
  what: string,
  context: RequestContext,
): unknown {
  const parsed = parseForDispatch(schema, returned, what, InvalidResultError);
  return parsed instanceof Promise
    ? parsed.then((parsed) => accept(parsed, returned, context))
    : accept(parsed, returned, context);
}

function accept(
  parsed: unknown,
  returned: unknown,
  context: RequestContext,
): unknown {
  observerOf(context)?.onParsed(parsed, returned);
  return parsed;
}

/**
 * Parses the result of a handler. An invalid result of a cast is only logged, since no caller receives it and the work
 * is done. Returns a promise only if the schema is asynchronous.
 */
export function resultOf(
  schema: Schema,
  returned: unknown,
  what: string,
  context: RequestContext,
): unknown {
  const server = observerOf(context);
  const cast = server !== undefined && !server.request.reply;
  const onInvalid = (error: unknown) => {
    if (!cast) throw error;
    logInvalidResult(what, error);
  };
  try {
    const parsed = parseResult(schema, returned, `result of ${what}`, context);
    return parsed instanceof Promise ? parsed.catch(onInvalid) : parsed;
  } catch (error) {
    return onInvalid(error);
  }
}

function logInvalidResult(what: string, error: unknown): void {
  const reason = error instanceof Error ? error.message : `${error}`;
  logger("rpc").warn(
    "The cast {what} was done, but its result does not fit the contract: {reason}",
    { what, reason: oneLine(redactText(reason)) },
  );
}

/** True for a value other than an object that JSON can represent. */
const isJsonScalar = (value: unknown) =>
  value === null || value === undefined || typeof value === "string" ||
  typeof value === "boolean" || Number.isFinite(value);

/**
 * Maximum number of stream items that are remembered, of those that are neither objects nor values of JSON. The oldest
 * are forgotten.
 */
const MAX_RESULTS = 1_000;

/**
 * Maps the parsed results of one request back to the values that the handler returned, for results that JSON cannot
 * represent.
 */
export class RawResults {
  #last: { readonly parsed: unknown; readonly returned: unknown } | undefined;
  #byObject: WeakMap<object, unknown> | undefined;
  #byValue: Map<unknown, unknown> | undefined;

  /** Remembers a result. All items of a stream are remembered, since a dispatcher that calls another one may read ahead. */
  remember(parsed: unknown, returned: unknown, stream: boolean): void {
    this.#last = { parsed, returned };
    if (!stream) return;
    if (isObject(parsed)) {
      this.#byObject ??= new WeakMap();
      this.#byObject.set(parsed, returned);
    } else if (!isJsonScalar(parsed)) {
      this.#byValue ??= new Map();
      this.#byValue.set(parsed, returned);
      if (this.#byValue.size <= MAX_RESULTS) return;
      this.#byValue.delete(this.#byValue.keys().next().value);
    }
  }

  /** Returns the value that the handler returned for a parsed value; undefined if it is unknown. */
  for(value: unknown): { readonly returned: unknown } | undefined {
    if (this.#last && Object.is(this.#last.parsed, value)) return this.#last;
    const returnedValues = isObject(value) ? this.#byObject : this.#byValue;
    return returnedValues?.has(value as object)
      ? { returned: returnedValues.get(value as object) }
      : undefined;
  }
}

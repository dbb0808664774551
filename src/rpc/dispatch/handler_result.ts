/** What the server must know of a dispatch beyond its result: who refused, whose errors, what was given. @module */
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

// Kept beside the errors and not in them, so that whoever wraps a dispatcher sees plain ones.
const dispatchErrors = new WeakSet<Error>();
const classesOf = new WeakMap<object, Readonly<Record<string, ErrorClass>>>();

const isObject = (value: unknown): value is object =>
  typeof value === "object" && value !== null;

/** True for an error by which a dispatcher refused a request: no handler threw it. */
export function isDispatchError(error: unknown): boolean {
  return error instanceof Error && dispatchErrors.has(error);
}

/** Error classes of the contract whose handler threw; none for an error from elsewhere. */
export function errorClassesOf(
  error: unknown,
): Readonly<Record<string, ErrorClass>> {
  return isObject(error) ? classesOf.get(error) ?? {} : {};
}

/** Marks an error that was thrown around a handler with the classes of its contract, unless it is marked already. */
export function markHandlerError(
  error: unknown,
  errors: Contract["errors"],
): void {
  if (!errors || !isObject(error) || isDispatchError(error)) return;
  if (!classesOf.has(error)) classesOf.set(error, errors);
}

/** Marks an error as the dispatcher's refusal. */
export function markDispatchError<E extends RpcError>(error: E): E {
  dispatchErrors.add(error);
  return error;
}

const dispatchError = (error: unknown) =>
  error instanceof RpcError ? markDispatchError(error) : error;

/** Checks for the dispatcher: what the check throws is its refusal. */
export function asDispatchError<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw dispatchError(error);
  }
}

/** Parses for the dispatcher: what does not fit is its refusal. A promise only where the schema needs one. */
function parseForDispatch(
  schema: Schema,
  given: unknown,
  what: string,
  errorClass: InvalidClass,
): unknown {
  const parsed = asDispatchError(() => parse(schema, given, what, errorClass));
  if (!(parsed instanceof Promise)) return parsed;
  return parsed.catch((error) => {
    throw dispatchError(error);
  });
}

/** Parses the arguments of a request; returns a promise only where the schema is asynchronous. */
export function parseArgs(
  schema: Schema,
  args: unknown,
  what: string,
): unknown {
  return parseForDispatch(schema, args, what, InvalidValueError);
}

/** Lets a handler do something; what it throws is marked with its contract's list of errors. */
export function callHandler<T>(
  { errors }: Contract,
  context: RequestContext,
  work: () => T | PromiseLike<T>,
): Promise<T> {
  return runWithContext(context, work, (error) => {
    if (error instanceof Error) dispatchErrors.delete(error); // of another dispatcher, which the handler asked
    if (errors && isObject(error)) classesOf.set(error, errors);
  });
}

/** The parsed value; its server is told what was given, in case JSON cannot carry it. A promise only where the schema needs one. */
export function parseResult(
  schema: Schema,
  given: unknown,
  what: string,
  context: RequestContext,
): unknown {
  const accept = (parsed: unknown) => {
    observerOf(context)?.parsed(parsed, given);
    return parsed;
  };
  const parsed = parseForDispatch(schema, given, what, InvalidResultError);
  return parsed instanceof Promise ? parsed.then(accept) : accept(parsed);
}

/** The parsed result. Nobody gets that of a cast, whose work is done: one that does not fit is a line of the log. */
export async function resultOf(
  schema: Schema,
  given: unknown,
  what: string,
  context: RequestContext,
): Promise<unknown> {
  const server = observerOf(context);
  const cast = server !== undefined && !server.request.reply;
  try {
    return await parseResult(schema, given, `result of ${what}`, context);
  } catch (error) {
    if (!cast) throw error;
    const reason = error instanceof Error ? error.message : `${error}`;
    logger("rpc").warn(
      "The cast {what} was done, its result does not fit: {reason}",
      {
        what,
        reason: oneLine(redactText(reason)),
      },
    );
    return undefined;
  }
}

/** True for what is no object and travels as it is. */
const isCarried = (value: unknown) =>
  value === null || value === undefined || typeof value === "string" ||
  typeof value === "boolean" || Number.isFinite(value);

/** Number of values of a stream that are no objects and that JSON cannot carry, at most. The latest are remembered. */
const MAX_RESULTS = 1_000;

/** Remembers of one request. */
export class RawResults {
  #last: { readonly parsed: unknown; readonly given: unknown } | undefined;
  #items: WeakMap<object, unknown> | undefined;
  #others: Map<unknown, unknown> | undefined;

  /** Only the last one, but of a stream all: whoever wraps its dispatcher may read ahead. */
  remember(parsed: unknown, given: unknown, stream: boolean): void {
    this.#last = { parsed, given };
    if (!stream) return;
    if (isObject(parsed)) {
      this.#items ??= new WeakMap();
      this.#items.set(parsed, given);
    } else if (!isCarried(parsed)) {
      this.#others ??= new Map();
      this.#others.set(parsed, given);
      if (this.#others.size <= MAX_RESULTS) return;
      this.#others.delete(this.#others.keys().next().value);
    }
  }

  /** What was given for a value; undefined if nothing was. */
  for(value: unknown): { readonly given: unknown } | undefined {
    if (this.#last && Object.is(this.#last.parsed, value)) return this.#last;
    const known = isObject(value) ? this.#items : this.#others;
    return known?.has(value as object)
      ? { given: known.get(value as object) }
      : undefined;
  }
}

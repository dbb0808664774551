/** What the server must know of a dispatch beyond its result: who refused, whose errors, what was given. @module */
import { type ErrorClass, InvalidValueError, RpcError } from "../errors.ts";
import type { PacedContext } from "./context.ts";
import type { Contract, Procedure } from "./contract.ts";
import { parse, type Schema } from "./schema.ts";

/** What the server wants to know before a handler starts; symbols, so that a copy of the context keeps them. */
export const found: unique symbol = Symbol("warren.found");
export const starting: unique symbol = Symbol("warren.starting");

/** A context as the server makes it. */
export interface ServedContext extends PacedContext {
  /** Called when it is known which procedure is meant, with its name: `topic.method`. */
  readonly [found]?: (procedure: Procedure, name: string) => void;
  /** Called when its handler is about to start, which waits for it. */
  readonly [starting]?: (procedure: Procedure) => Promise<void> | undefined;
}

// Kept beside the values and not in them, so that whoever wraps a dispatcher sees plain errors and results.
const refusals = new WeakSet<Error>();
const classesOf = new WeakMap<object, Readonly<Record<string, ErrorClass>>>();
const givenFor = new WeakMap<object, unknown>();

const isObject = (value: unknown): value is object =>
  typeof value === "object" && value !== null;

/** True for an error by which a dispatcher refused a request: no handler threw it. */
export function isRefusal(error: unknown): boolean {
  return error instanceof Error && refusals.has(error);
}

/** Error classes of the contract whose handler threw; none for an error from elsewhere. */
export function errorClassesOf(
  error: unknown,
): Readonly<Record<string, ErrorClass>> {
  return isObject(error) ? classesOf.get(error) ?? {} : {};
}

/** What was given, without the keys that parsing dropped: they are not for the caller. */
function pruned(given: unknown, parsed: unknown): unknown {
  if (!isObject(given) || !isObject(parsed)) return given;
  if (Array.isArray(given)) {
    return Array.isArray(parsed)
      ? given.map((item, at) => pruned(item, parsed[at]))
      : given;
  }
  if (Object.getPrototypeOf(parsed) !== Object.prototype) return given; // a Date, a Map, …
  const known = new Map<string, unknown>(Object.entries(parsed));
  const kept = Object.entries(given).filter(([key]) => known.has(key));
  return Object.fromEntries(
    kept.map(([key, value]) => [key, pruned(value, known.get(key))]),
  );
}

/** What the handler gave for a parsed value, to be sent where JSON cannot carry the parsed one (e.g. a `Date`). */
export function asGiven(
  parsed: unknown,
): { readonly value: unknown } | undefined {
  const known = isObject(parsed) && givenFor.has(parsed);
  return known ? { value: pruned(givenFor.get(parsed), parsed) } : undefined;
}

/** Marks an error as the dispatcher's refusal. */
export function refuse<E extends RpcError>(error: E): E {
  refusals.add(error);
  return error;
}

/** Marks what goes wrong as the dispatcher's refusal. */
export async function refusing<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof RpcError ? refuse(error) : error;
  }
}

/** Marks what a handler throws with its contract's list of errors. */
export async function marking<T>(
  { errors }: Contract,
  work: () => T | Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error) refusals.delete(error); // of another dispatcher, which the handler asked
    if (errors && isObject(error)) classesOf.set(error, errors);
    throw error;
  }
}

/** The parsed value; what was given is remembered in case JSON cannot carry it. */
export async function checked(
  schema: Schema,
  given: unknown,
  what: string,
): Promise<unknown> {
  const parsed = await refusing(() => parse(schema, given, what));
  if (parsed === undefined) {
    const text = `Invalid ${what}: it is undefined, which JSON cannot carry`;
    throw refuse(new InvalidValueError(`${text}; give null`));
  }
  if (isObject(parsed) && parsed !== given) givenFor.set(parsed, given);
  return parsed;
}

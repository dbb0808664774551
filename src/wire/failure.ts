/**
 * Conversion of errors to failures on the wire and back. A class is never instantiated merely because a peer has sent
 * its name: only listed classes are.
 *
 * @module
 */
import {
  type ErrorClass,
  type Failure,
  InterruptedError,
  InvalidResultError,
  InvalidValueError,
  NoSuchMethodError,
  RemoteError,
  RequestConflictError,
  TimeoutError,
  UnsupportedVersionError,
} from "../errors.ts";
import { operatorErrors } from "../operator_errors.ts";
import type { JsonObject } from "./rpc_message.ts";
import { assertJson, isJsonObject } from "./json.ts";
import { fromOsloFailure, type OsloPeer, toOsloFailure } from "./oslo.ts";

/** Error classes by their name on the wire, `module.Class`. */
export type ErrorClasses = Readonly<Record<string, ErrorClass>>;

/** Errors of a dispatcher, the only ones of Warren that keep their class over the wire. */
const dispatcherErrors: ErrorClasses = {
  InvalidResultError,
  InvalidValueError,
  NoSuchMethodError,
  InterruptedError,
  RequestConflictError,
  TimeoutError,
  UnsupportedVersionError,
  ...operatorErrors,
};
const DISPATCHER_MODULE = "warren";

/** Options for the description of an error. */
export interface FailureOptions {
  /** Error classes that keep their name. */
  readonly classes?: ErrorClasses | undefined;
  /** True for an error of the dispatcher, false for one that a handler threw. */
  readonly fromDispatcher: boolean;
  /** Peer whose own classes describe the dispatcher's errors, if it is not Warren. */
  readonly forOslo?: OsloPeer | undefined;
  /** True to send the stack trace; default false. */
  readonly traceback?: boolean | undefined;
}

/** Returns the name of an error's class in a list. The class itself precedes its base classes. */
export function nameOf(
  error: object,
  classes: ErrorClasses,
): string | undefined {
  let base: string | undefined;
  for (const [name, type] of Object.entries(classes)) {
    if (error.constructor === type) return name;
    if (error instanceof type) base ??= name;
  }
  return base;
}

function splitName(name: string): { module: string; type: string } {
  const dot = name.lastIndexOf(".");
  return { module: name.slice(0, Math.max(0, dot)), type: name.slice(dot + 1) };
}

/**
 * Returns the data of an error, or an empty object if JSON cannot represent the data: an error must always be sendable.
 */
function dataOf(error: object): Readonly<Record<string, unknown>> {
  try {
    const data = "data" in error ? error.data : undefined;
    if (!isJsonObject(data)) return {};
    assertJson(data);
    return { ...data };
  } catch {
    return {};
  }
}

/** Returns the arguments of an error, its own or those that a peer sent with it. */
function argumentsOf(error: Error): Pick<Failure, "args"> {
  try {
    const { failure } = [error, error.cause].find(isRemote) ?? {};
    const isUnchanged = failure?.message === error.message || isRemote(error);
    const args = "args" in error ? error.args : isUnchanged && failure?.args;
    if (!Array.isArray(args)) return {};
    assertJson(args);
    return { args: [...args] };
  } catch {
    return {};
  }
}

const isRemote = (error: unknown) => error instanceof RemoteError;

/** Longest text of an error that is sent, in characters. */
const MAX_MESSAGE_CHARACTERS = 16 * 1024;

function describe(thrown: unknown): string {
  try {
    return String(thrown).slice(0, MAX_MESSAGE_CHARACTERS);
  } catch {
    return `a value of type ${typeof thrown}`; // e.g. an object without a prototype
  }
}

/** Reads a text of an error; empty if its getter throws. */
function textOf(error: Error, part: "name" | "message" | "stack"): string {
  try {
    return String(error[part] ?? "").slice(0, MAX_MESSAGE_CHARACTERS);
  } catch {
    return "";
  }
}

/** Converts a thrown value to a failure. */
export function toFailure(thrown: unknown, options: FailureOptions): Failure {
  if (!(thrown instanceof Error)) {
    return {
      type: "Error",
      module: "",
      message: `Thrown value: ${describe(thrown)}`,
      data: {},
      traceback: [],
    };
  }
  const stack = options.traceback ? textOf(thrown, "stack").split("\n") : [];
  const traceback = stack.map((line) => `${line}\n`);
  const osloFailure = options.fromDispatcher && options.forOslo
    ? toOsloFailure(thrown, options.forOslo)
    : undefined;
  return osloFailure ? { ...osloFailure, traceback } : {
    ...wireName(thrown, options),
    message: textOf(thrown, "message"),
    data: dataOf(thrown),
    ...argumentsOf(thrown),
    traceback,
  };
}

function wireName(
  thrown: Error,
  { fromDispatcher, classes = {} }: FailureOptions,
): Pick<Failure, "module" | "type"> {
  if (fromDispatcher) {
    return { module: DISPATCHER_MODULE, type: textOf(thrown, "name") };
  }
  const listed = nameOf(thrown, classes);
  return listed === undefined
    ? { module: "", type: textOf(thrown, "name") }
    : splitName(listed);
}

/**
 * Creates the error for a failure that arrived: an instance of a listed class, an error of the dispatcher, an
 * `AggregateError` or a `SuppressedError`, and otherwise a `RemoteError`. The `RemoteError` is the cause of all others.
 * Inner errors are created in the same way.
 */
export function fromFailure(failure: Failure, classes: ErrorClasses): Error {
  const { cause } = failure;
  const inner = cause && { cause: fromFailure(cause, classes) };
  const remote = new RemoteError(failure, inner);
  const { module, type, message, data } = failure;
  const name = module === "" ? type : `${module}.${type}`;
  const classList = module === DISPATCHER_MODULE ? dispatcherErrors : classes;
  const key = module === DISPATCHER_MODULE ? type : name;
  const errorClass = Object.hasOwn(classList, key) ? classList[key] : undefined;
  if (errorClass === undefined) {
    return fromOsloFailure(failure, remote) ??
      withInnerErrors(failure, classes, remote);
  }
  try {
    const error = new errorClass(message, { data, cause: remote });
    if (!(error instanceof Error)) return remote;
    if (error instanceof AggregateError && failure.errors) {
      error.errors = failure.errors.map((each) => fromFailure(each, classes));
    }
    return error;
  } catch {
    return remote; // the class rejects the data
  }
}

/** Creates the error for a failure with inner errors; returns the `RemoteError` itself if there are none. */
function withInnerErrors(
  { message, errors, error, suppressed }: Failure,
  classes: ErrorClasses,
  remote: RemoteError,
): Error {
  const rebuild = (each: Failure | undefined) =>
    each && fromFailure(each, classes);
  if (errors) {
    return new AggregateError(errors.map(rebuild), message, { cause: remote });
  }
  if (!error && !suppressed) return remote;
  const both = new SuppressedError(
    rebuild(error),
    rebuild(suppressed),
    message,
  );
  return Object.defineProperty(both, "cause", {
    value: remote,
    configurable: true,
    writable: true,
  });
}

/** Members of a failure that only Warren sends. */
export type InnerErrors = Pick<
  Failure,
  "details" | "cause" | "errors" | "error" | "suppressed"
>;

/** Limits for received inner errors: nested levels, number of errors, scalar members of each, and characters of a text. */
const MAX_INNER_ERRORS = { depth: 4, errors: 32, details: 16, text: 16 * 1024 };

/** Returns the JSON keys of the inner errors; all undefined if there are none. */
export function innerErrorFields(
  { details, cause, errors, error, suppressed }: InnerErrors,
): JsonObject {
  return {
    details,
    cause: cause && fieldsOf(cause),
    errors: errors?.map(fieldsOf),
    error: error && fieldsOf(error),
    suppressed: suppressed && fieldsOf(suppressed),
  };
}

const fieldsOf = (failure: Failure): JsonObject => ({
  class: failure.type,
  module: failure.module,
  message: failure.message,
  kwargs: failure.data,
  ...innerErrorFields(failure),
});

interface Budget {
  errors: number;
}

/**
 * Reads the inner errors from the JSON of a failure. Errors beyond the limits, and members of another type, are
 * omitted.
 */
export function innerErrorsIn(
  fields: JsonObject,
  depth: number = MAX_INNER_ERRORS.depth,
  budget: Budget = { errors: MAX_INNER_ERRORS.errors },
): InnerErrors {
  const inner: { -readonly [K in keyof InnerErrors]: InnerErrors[K] } = {};
  const details = detailsIn(fields.details);
  if (details) inner.details = details;
  if (depth === 0) return inner;
  if (Array.isArray(fields.errors)) {
    inner.errors = fields.errors.slice(0, MAX_INNER_ERRORS.errors)
      .map((each) => failureIn(each, depth - 1, budget))
      .filter((each) => each !== undefined);
  }
  for (const part of ["error", "suppressed", "cause"] as const) {
    const failure = failureIn(fields[part], depth - 1, budget);
    if (failure) inner[part] = failure;
  }
  return inner;
}

const text = (value: unknown) =>
  typeof value === "string" ? value.slice(0, MAX_INNER_ERRORS.text) : "";

function failureIn(
  value: unknown,
  depth: number,
  budget: Budget,
): Failure | undefined {
  if (!isJsonObject(value) || budget.errors-- <= 0) return undefined;
  return {
    type: text(value.class) || "Error",
    module: text(value.module),
    message: text(value.message),
    data: isJsonObject(value.kwargs) ? value.kwargs : {},
    traceback: [],
    ...innerErrorsIn(value, depth, budget),
  };
}

function detailsIn(value: unknown): InnerErrors["details"] {
  if (!isJsonObject(value)) return undefined;
  const entries = Object.entries(value).slice(0, MAX_INNER_ERRORS.details)
    .filter(([, each]) => ["string", "number", "boolean"].includes(typeof each))
    .map(([name, each]) => [
      text(name),
      typeof each === "string" ? text(each) : each,
    ]);
  return entries.length > 0 ? Object.fromEntries(entries) : undefined;
}

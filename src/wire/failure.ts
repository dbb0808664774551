/** Errors to and from the wire. Nothing is ever constructed by a name that came: only what a list names. @module */
import {
  type ErrorClass,
  type Failure,
  InterruptedError,
  InvalidValueError,
  NoSuchMethodError,
  RemoteError,
  TimeoutError,
  UnsupportedVersionError,
} from "../errors.ts";
import type { JsonObject, Request } from "./rpc_message.ts";
import { assertJson } from "./json.ts";
import {
  fromOsloFailure,
  type OsloPeer,
  osloPeer,
  toOsloFailure,
} from "./oslo.ts";

/** Error classes by their name on the wire, `module.Class`. */
export type ErrorClasses = Readonly<Record<string, ErrorClass>>;

/** What a worker itself says of a request: the only errors of Warren that keep their class over the wire. */
const dispatcherErrors: ErrorClasses = {
  InvalidValueError,
  NoSuchMethodError,
  InterruptedError,
  TimeoutError,
  UnsupportedVersionError,
};
const REFUSAL = "warren";

/** In whose words a caller that is not Warren is refused; undefined for Warren. */
export function osloPeerOf(
  { reply, warren }: Pick<Request, "reply" | "warren">,
): OsloPeer | undefined {
  return reply && !warren ? osloPeer(reply) : undefined;
}

/** How an error is described. */
export interface FailureOptions {
  /** Error classes that keep their name. */
  readonly classes?: ErrorClasses | undefined;
  /** True for the dispatcher's own refusal, false for what a handler threw. */
  readonly fromDispatcher: boolean;
  /** The peer's own words for refusals, where it is not Warren. */
  readonly forOslo?: OsloPeer | undefined;
  /** Whether the stack goes along; default false. */
  readonly traceback?: boolean | undefined;
}

/** The name that a list gives to the class of an error; the class itself before a base of it. */
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

function split(name: string): { module: string; type: string } {
  const dot = name.lastIndexOf(".");
  return { module: name.slice(0, Math.max(0, dot)), type: name.slice(dot + 1) };
}

/** The data of an error, if JSON can carry it: an error must always be able to travel. */
function dataOf(error: object): Readonly<Record<string, unknown>> {
  try {
    const data = "data" in error ? error.data : undefined;
    if (typeof data !== "object" || data === null || Array.isArray(data)) {
      return {};
    }
    assertJson(data);
    return { ...data };
  } catch {
    return {};
  }
}

/** The arguments of an error that has any, or had when it came from a peer. */
function argumentsOf(error: Error): Pick<Failure, "args"> {
  try {
    const { failure } = [error, error.cause].find(isRemote) ?? {};
    const known = failure?.message === error.message || isRemote(error);
    const args = "args" in error ? error.args : known && failure?.args;
    if (!Array.isArray(args)) return {};
    assertJson(args);
    return { args: [...args] };
  } catch {
    return {};
  }
}

const isRemote = (error: unknown) => error instanceof RemoteError;

/** Longest text of an error that travels, in characters. */
const MAX_MESSAGE = 16 * 1024;

function describe(thrown: unknown): string {
  try {
    return String(thrown).slice(0, MAX_MESSAGE);
  } catch {
    return `something of type ${typeof thrown}`; // e.g. an object without a prototype
  }
}

/** A text of an error; whoever made the error may have put anything there. */
function textOf(error: Error, part: "name" | "message" | "stack"): string {
  try {
    return String(error[part] ?? "").slice(0, MAX_MESSAGE);
  } catch {
    return "";
  }
}

/** What a thrown value looks like on the wire. */
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
  const said = options.fromDispatcher && options.forOslo
    ? toOsloFailure(thrown, options.forOslo)
    : undefined;
  return said ? { ...said, traceback } : {
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
  if (fromDispatcher) return { module: REFUSAL, type: textOf(thrown, "name") };
  const listed = nameOf(thrown, classes);
  return listed === undefined
    ? { module: "", type: textOf(thrown, "name") }
    : split(listed);
}

/**
 * The error for a failure that came: of a listed class, a refusal, an `AggregateError` or a `SuppressedError`, else a
 * `RemoteError`, which is the cause of all others. The errors within it are made in the same way.
 */
export function fromFailure(failure: Failure, classes: ErrorClasses): Error {
  const { cause } = failure;
  const remote = new RemoteError(
    failure,
    cause && { cause: fromFailure(cause, classes) },
  );
  const { module, type, message, data } = failure;
  const name = module === "" ? type : `${module}.${type}`;
  const list = module === REFUSAL ? dispatcherErrors : classes;
  const key = module === REFUSAL ? type : name;
  const found = Object.hasOwn(list, key) ? list[key] : undefined;
  if (found === undefined) {
    return fromOsloFailure(failure, remote) ??
      withInnerErrors(failure, classes, remote);
  }
  try {
    const error = new found(message, { data, cause: remote });
    if (!(error instanceof Error)) return remote;
    if (error instanceof AggregateError && failure.errors) {
      error.errors = failure.errors.map((each) => fromFailure(each, classes));
    }
    return error;
  } catch {
    return remote; // the class refuses what came
  }
}

/** The error for one that held others, by what it held; the `RemoteError` itself if it held none. */
function withInnerErrors(
  { message, errors, error, suppressed }: Failure,
  classes: ErrorClasses,
  remote: RemoteError,
): Error {
  const made = (each: Failure | undefined) =>
    each && fromFailure(each, classes);
  if (errors) {
    return new AggregateError(errors.map(made), message, { cause: remote });
  }
  if (!error && !suppressed) return remote;
  const both = new SuppressedError(made(error), made(suppressed), message);
  return Object.defineProperty(both, "cause", {
    value: remote,
    configurable: true,
    writable: true,
  });
}

/** The parts of a failure that Warren alone sends. */
export type InnerErrors = Pick<
  Failure,
  "details" | "cause" | "errors" | "error" | "suppressed"
>;

/** Bounds of what is read: depth, number of errors, scalars of each, and characters of a text. */
const MAX_INNER_ERRORS = { depth: 4, errors: 32, details: 16, text: 16 * 1024 };

/** The keys of what a failure holds, for its JSON; none where it holds nothing. */
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

/** The inner errors in the JSON of a failure, within bounds. Anything beyond them, or of another form, is left out. */
export function innerErrorsIn(
  fields: JsonObject,
  depth: number = MAX_INNER_ERRORS.depth,
  left: Budget = { errors: MAX_INNER_ERRORS.errors },
): InnerErrors {
  const held: { -readonly [K in keyof InnerErrors]: InnerErrors[K] } = {};
  const details = detailsIn(fields.details);
  if (details) held.details = details;
  if (depth === 0) return held;
  if (Array.isArray(fields.errors)) {
    held.errors = fields.errors.slice(0, MAX_INNER_ERRORS.errors)
      .map((each) => failureIn(each, depth - 1, left))
      .filter((each) => each !== undefined);
  }
  for (const part of ["error", "suppressed", "cause"] as const) {
    const failure = failureIn(fields[part], depth - 1, left);
    if (failure) held[part] = failure;
  }
  return held;
}

const isFields = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const text = (value: unknown) =>
  typeof value === "string" ? value.slice(0, MAX_INNER_ERRORS.text) : "";

function failureIn(
  value: unknown,
  depth: number,
  left: Budget,
): Failure | undefined {
  if (!isFields(value) || left.errors-- <= 0) return undefined;
  return {
    type: text(value.class) || "Error",
    module: text(value.module),
    message: text(value.message),
    data: isFields(value.kwargs) ? value.kwargs : {},
    traceback: [],
    ...innerErrorsIn(value, depth, left),
  };
}

function detailsIn(value: unknown): InnerErrors["details"] {
  if (!isFields(value)) return undefined;
  const entries = Object.entries(value).slice(0, MAX_INNER_ERRORS.details)
    .filter(([, each]) => ["string", "number", "boolean"].includes(typeof each))
    .map(([name, each]) => [
      text(name),
      typeof each === "string" ? text(each) : each,
    ]);
  return entries.length > 0 ? Object.fromEntries(entries) : undefined;
}

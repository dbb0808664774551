/** Standard Schema: the interface that zod, valibot, arktype and others share (https://standardschema.dev). @module */
import { InvalidResultError, InvalidValueError } from "../errors.ts";
import { isSecret } from "../redaction.ts";
import { oneLine } from "../logging.ts";

/**
 * Any Standard Schema (zod, valibot, arktype, …).
 * @category Contracts
 */
export interface Schema<I = unknown, O = unknown> {
  /** The standard's only member. */
  readonly "~standard": {
    /** Version of the standard. */
    readonly version: 1;
    /** Name of the library. */
    readonly vendor: string;
    /** Validates and transforms a value. */
    readonly validate: (
      value: unknown,
    ) => SchemaResult<O> | Promise<SchemaResult<O>>;
    /** Types of input and output, used only for type inference. */
    readonly types?: {
      /** Type of the input. */
      readonly input: I;
      /** Type of the output. */
      readonly output: O;
    } | undefined;
  };
}

/**
 * Result of a validation.
 * @category Contracts
 */
export type SchemaResult<O> = {
  /** Output of the schema. */
  readonly value: O;
  /** No issues. */
  readonly issues?: undefined;
} | {
  /** Issues of the value. */
  readonly issues: readonly SchemaIssue[];
};

/**
 * One reason why a value is invalid.
 * @category Contracts
 */
export interface SchemaIssue {
  /** Description. */
  readonly message: string;
  /** Path of the invalid member: keys from the outermost inwards. */
  readonly path?:
    | readonly (PropertyKey | {
      /** Key. */
      readonly key: PropertyKey;
    })[]
    | undefined;
}

/**
 * Input type of a schema.
 * @category Contracts
 */
export type Input<S extends Schema> = NonNullable<
  S["~standard"]["types"]
>["input"];
/**
 * Output type of a schema.
 * @category Contracts
 */
export type Output<S extends Schema> = NonNullable<
  S["~standard"]["types"]
>["output"];

/** True for a Standard Schema. */
export function isSchema(value: unknown): value is Schema {
  const standard = (value as Partial<Schema> | null | undefined)?.["~standard"];
  return typeof standard === "object" && standard !== null &&
    typeof standard.validate === "function";
}

/** Formats a key or a text that may be a peer's as one short line; quotes are not escaped. */
function quoted(text: string): string {
  return oneLine(text).replaceAll('\\"', '"');
}

function pathOf({ path = [] }: SchemaIssue): string {
  return path.map((key) =>
    quoted(String(typeof key === "object" ? key.key : key))
  )
    .join(".");
}

/**
 * Returns the library's description of an issue, which may quote the value. The description of a secret is not
 * repeated.
 */
function messageOf({ path = [], message }: SchemaIssue): string {
  const keys = path.map((key) =>
    String(typeof key === "object" ? key.key : key)
  );
  return keys.some(isSecret) ? "it is not valid" : quoted(message);
}

/** Maximum number of issues in an error message. */
const MAX_ISSUES = 5;

/** Error class for an invalid value: invalid arguments are the caller's fault, an invalid result is the worker's. */
export type InvalidClass =
  | typeof InvalidValueError
  | typeof InvalidResultError;

function invalid(
  valueName: string,
  issues: readonly SchemaIssue[],
  errorClass: InvalidClass,
): InvalidValueError | InvalidResultError {
  const list = issues.slice(0, MAX_ISSUES).map((issue) =>
    `${pathOf(issue) || "the whole value"}: ${messageOf(issue)}`
  );
  return new errorClass(`Invalid ${valueName}: ${list.join("; ")}`, {
    data: { path: issues[0] ? pathOf(issues[0]) : "", issues: list },
  });
}

/**
 * Validates a value and returns the schema's output; returns a promise only if the schema is asynchronous. `what` is
 * the name of the value in the error's message.
 *
 * @throws {InvalidValueError} the value is invalid; an error of `errorClass`, if that is given. `data.path` and
 * `data.issues` describe the error.
 */
export function parse<O>(
  schema: Schema<unknown, O>,
  value: unknown,
  valueName: string,
  errorClass: InvalidClass = InvalidValueError,
): O | Promise<O> {
  const result = schema["~standard"].validate(value);
  return result instanceof Promise
    ? result.then((result) => outputOf(result, valueName, errorClass))
    : outputOf(result, valueName, errorClass);
}

function outputOf<O>(
  result: SchemaResult<O>,
  valueName: string,
  errorClass: InvalidClass,
): O {
  if (result.issues) throw invalid(valueName, result.issues, errorClass);
  return result.value;
}

/**
 * Validates a result that was received as `null`. If the schema rejects `null`, validates `undefined`: peers that are
 * not Warren have no other value for a missing result.
 *
 * @throws {InvalidResultError} the schema rejects both.
 */
export async function parseNull<O>(
  schema: Schema<unknown, O>,
  valueName: string,
): Promise<O> {
  try {
    return await parse(schema, null, valueName, InvalidResultError);
  } catch (error) {
    if (!(error instanceof InvalidResultError)) throw error;
    const result = await schema["~standard"].validate(undefined);
    if (result.issues) throw error;
    return result.value;
  }
}

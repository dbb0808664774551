/** Standard Schema: the interface that zod, valibot, arktype and others share (https://standardschema.dev). @module */
import { InvalidValueError } from "../errors.ts";
import { isSecret } from "../redaction.ts";
import { oneLine } from "../logging.ts";

/** Any Standard Schema (zod, valibot, arktype, …). */
export interface Schema<I = unknown, O = unknown> {
  /** The standard's only member. */
  readonly "~standard": {
    /** Version of the standard. */
    readonly version: 1;
    /** The library. */
    readonly vendor: string;
    /** Validates and transforms. */
    readonly validate: (
      value: unknown,
    ) => SchemaResult<O> | Promise<SchemaResult<O>>;
    /** For inference alone. */
    readonly types?: {
      /** What goes in. */
      readonly input: I;
      /** What comes out. */
      readonly output: O;
    } | undefined;
  };
}

/** What validation says. */
export type SchemaResult<O> = {
  /** The value. */
  readonly value: O;
  /** None. */
  readonly issues?: undefined;
} | {
  /** What is wrong. */
  readonly issues: readonly SchemaIssue[];
};

/** One thing that is wrong. */
export interface SchemaIssue {
  /** Text. */
  readonly message: string;
  /** Where: the keys from the outside in. */
  readonly path?:
    | readonly (PropertyKey | {
      /** Key. */
      readonly key: PropertyKey;
    })[]
    | undefined;
}

/** A schema's input. */
export type Input<S extends Schema> = NonNullable<
  S["~standard"]["types"]
>["input"];
/** A schema's output. */
export type Output<S extends Schema> = NonNullable<
  S["~standard"]["types"]
>["output"];

/** True for a value that is a schema. */
export function isSchema(value: unknown): value is Schema {
  const standard = (value as Partial<Schema> | null | undefined)?.["~standard"];
  return typeof standard === "object" && standard !== null &&
    typeof standard.validate === "function";
}

/** Keys and texts may be a stranger's: one short line, with the quotes left as they are. */
function quoted(text: string): string {
  return oneLine(text).replaceAll('\\"', '"');
}

function pathOf({ path = [] }: SchemaIssue): string {
  return path.map((key) =>
    quoted(String(typeof key === "object" ? key.key : key))
  )
    .join(".");
}

/** What is wrong in the words of the library, which may hold the value: of a secret nothing is said. */
function messageOf({ path = [], message }: SchemaIssue): string {
  const keys = path.map((key) =>
    String(typeof key === "object" ? key.key : key)
  );
  return keys.some(isSecret) ? "it is not as it should be" : quoted(message);
}

/** Issues that an error names. */
const MAX_ISSUES = 5;

function invalid(
  what: string,
  issues: readonly SchemaIssue[],
): InvalidValueError {
  const list = issues.slice(0, MAX_ISSUES).map((issue) =>
    `${pathOf(issue) || "the whole"}: ${messageOf(issue)}`
  );
  return new InvalidValueError(`Invalid ${what}: ${list.join("; ")}`, {
    data: { path: issues[0] ? pathOf(issues[0]) : "", issues: list },
  });
}

function resultOrThrow<O>(what: string, result: SchemaResult<O>): O {
  if (result.issues) throw invalid(what, result.issues);
  return result.value;
}

/**
 * The schema's output for a value; a promise only where the schema needs one.
 *
 * @throws {InvalidValueError} naming `what` and the paths.
 */
export function parse<O>(
  schema: Schema<unknown, O>,
  value: unknown,
  what: string,
): O | Promise<O> {
  const result = schema["~standard"].validate(value);
  return result instanceof Promise
    ? result.then((late) => resultOrThrow(what, late))
    : resultOrThrow(what, result);
}

/**
 * The schema's output for a peer's null; where it takes no null, that for no value: peers that are not Warren have no other
 * word for it.
 *
 * @throws {InvalidValueError} it takes neither.
 */
export async function parseNull<O>(
  schema: Schema<unknown, O>,
  what: string,
): Promise<O> {
  try {
    return await parse(schema, null, what);
  } catch (error) {
    if (!(error instanceof InvalidValueError)) throw error;
    const result = await schema["~standard"].validate(undefined);
    if (result.issues) throw error;
    return result.value;
  }
}

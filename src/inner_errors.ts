/** The parts of an error beside its message: other errors, and the scalars of Node's and of databases' errors. @module */

/** Scalars of an error, by their names. */
export type Details = Readonly<Record<string, string | number | boolean>>;

/** An error within another, by the member that it is. */
export interface InnerError {
  /** `errors` is of an `AggregateError`, `error` and `suppressed` of a `SuppressedError`. */
  readonly part: "cause" | "errors" | "error" | "suppressed";
  /** The error, or whatever else was thrown. */
  readonly thrown: unknown;
}

/** Errors within errors that are looked at: so deep, and so many in all. */
export const INNER_PARTS = { depth: 4, errors: 32 } as const;

/** The names that are read: those of Node's system errors and of PostgreSQL's. */
const NAMES = [
  ...["code", "errno", "syscall", "severity", "detail", "hint"],
  ...["schema", "table", "column", "constraint"],
];
/** Characters of one of them at most. */
const MAX_LENGTH = 1_000;

/** A member of an error; whoever made the error may have put anything there. */
function read(error: Error, name: string): unknown {
  try {
    return Reflect.get(error, name);
  } catch {
    return undefined;
  }
}

/** The scalars that an error carries: `code`, `detail`, `constraint` and their like, each of at most 1000 characters. */
export function detailsOf(error: Error): Details {
  const details: Record<string, string | number | boolean> = {};
  for (const name of NAMES) {
    const value = read(error, name);
    if (typeof value === "string") {
      if (value !== "") details[name] = value.slice(0, MAX_LENGTH);
    } else if (typeof value === "boolean" || Number.isFinite(value)) {
      details[name] = value as number | boolean;
    }
  }
  return details;
}

/** The errors that an error holds, of each list the first 32. */
export function innerErrorsOf(error: Error): readonly InnerError[] {
  const found: InnerError[] = [];
  const add = (part: InnerError["part"], thrown: unknown) => {
    if (thrown !== undefined) found.push({ part, thrown });
  };
  if (error instanceof AggregateError) {
    const errors = read(error, "errors");
    const list = Array.isArray(errors)
      ? errors.slice(0, INNER_PARTS.errors)
      : [];
    for (const each of list) found.push({ part: "errors", thrown: each });
  }
  if (error instanceof SuppressedError) {
    add("error", read(error, "error"));
    add("suppressed", read(error, "suppressed"));
  }
  add("cause", read(error, "cause"));
  return found;
}

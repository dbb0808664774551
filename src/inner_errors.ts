/**
 * Reader of the contents of an error besides its message: inner errors, and the scalar members of Node's and of
 * databases' errors.
 *
 * @module
 */

/** Scalar members of an error, by name. */
export type Details = Readonly<Record<string, string | number | boolean>>;

/** Error within another one. */
export interface InnerError {
  /**
   * Member of the outer error. `errors` belongs to an `AggregateError`, `error` and `suppressed` to a
   * `SuppressedError`.
   */
  readonly member: "cause" | "errors" | "error" | "suppressed";
  /** The inner error, or any other value that was thrown. */
  readonly thrown: unknown;
}

/** Limits for reading inner errors: nested levels, and errors in all. */
export const INNER_ERROR_LIMITS = { depth: 4, errors: 32 } as const;

/** Names of scalar members that are read: those of Node's system errors and of PostgreSQL's errors. */
const DETAIL_NAMES = [
  ...["code", "errno", "syscall", "severity", "detail", "hint"],
  ...["schema", "table", "column", "constraint"],
];
/** Longest text of a scalar member that is kept, in characters. */
const MAX_DETAIL_CHARACTERS = 1_000;

/** Reads a member of an error; undefined if its getter throws. */
function readMember(error: Error, name: string): unknown {
  try {
    return Reflect.get(error, name);
  } catch {
    return undefined;
  }
}

/**
 * Returns the scalar members of an error (`code`, `detail`, `constraint` and the like), each cut to 1000 characters.
 */
export function detailsOf(error: Error): Details {
  const details: Record<string, string | number | boolean> = {};
  for (const name of DETAIL_NAMES) {
    const value = readMember(error, name);
    if (typeof value === "string") {
      if (value !== "") details[name] = value.slice(0, MAX_DETAIL_CHARACTERS);
    } else if (typeof value === "boolean" || Number.isFinite(value)) {
      details[name] = value as number | boolean;
    }
  }
  return details;
}

/** Returns the inner errors of an error; at most 32 of an `AggregateError`. */
export function innerErrorsOf(error: Error): readonly InnerError[] {
  const inner: InnerError[] = [];
  const add = (member: InnerError["member"], thrown: unknown) => {
    if (thrown !== undefined) inner.push({ member, thrown });
  };
  if (error instanceof AggregateError) {
    const errors = readMember(error, "errors");
    const list = Array.isArray(errors)
      ? errors.slice(0, INNER_ERROR_LIMITS.errors)
      : [];
    for (const each of list) inner.push({ member: "errors", thrown: each });
  }
  if (error instanceof SuppressedError) {
    add("error", readMember(error, "error"));
    add("suppressed", readMember(error, "suppressed"));
  }
  add("cause", readMember(error, "cause"));
  return inner;
}

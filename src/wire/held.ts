/** The errors within a failure, as Warren says them to Warren: keys that others do not read. @module */
import type { Failure } from "../errors.ts";
import type { Fields } from "./envelope.ts";

/** The parts of a failure that Warren alone sends. */
export type Held = Pick<
  Failure,
  "details" | "cause" | "errors" | "error" | "suppressed"
>;

/** Bounds of what is read: depth, number of errors, scalars of each, and characters of a text. */
const MOST = { depth: 4, errors: 32, details: 16, text: 16 * 1024 };

/** The keys of what a failure holds, for its JSON; none where it holds nothing. */
export function heldFields(
  { details, cause, errors, error, suppressed }: Held,
): Fields {
  return {
    details,
    cause: cause && fieldsOf(cause),
    errors: errors?.map(fieldsOf),
    error: error && fieldsOf(error),
    suppressed: suppressed && fieldsOf(suppressed),
  };
}

const fieldsOf = (failure: Failure): Fields => ({
  class: failure.type,
  module: failure.module,
  message: failure.message,
  kwargs: failure.data,
  ...heldFields(failure),
});

interface Left {
  errors: number;
}

/** The inner errors in the JSON of a failure, within bounds. Anything beyond them, or of another form, is left out. */
export function heldIn(
  fields: Fields,
  depth: number = MOST.depth,
  left: Left = { errors: MOST.errors },
): Held {
  const held: { -readonly [K in keyof Held]: Held[K] } = {};
  const details = detailsIn(fields.details);
  if (details) held.details = details;
  if (depth === 0) return held;
  if (Array.isArray(fields.errors)) {
    held.errors = fields.errors.slice(0, MOST.errors)
      .map((each) => failureIn(each, depth - 1, left))
      .filter((each) => each !== undefined);
  }
  for (const part of ["error", "suppressed", "cause"] as const) {
    const failure = failureIn(fields[part], depth - 1, left);
    if (failure) held[part] = failure;
  }
  return held;
}

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const text = (value: unknown) =>
  typeof value === "string" ? value.slice(0, MOST.text) : "";

function failureIn(
  value: unknown,
  depth: number,
  left: Left,
): Failure | undefined {
  if (!isFields(value) || left.errors-- <= 0) return undefined;
  return {
    type: text(value.class) || "Error",
    module: text(value.module),
    message: text(value.message),
    data: isFields(value.kwargs) ? value.kwargs : {},
    traceback: [],
    ...heldIn(value, depth, left),
  };
}

function detailsIn(value: unknown): Held["details"] {
  if (!isFields(value)) return undefined;
  const entries = Object.entries(value).slice(0, MOST.details)
    .filter(([, each]) => ["string", "number", "boolean"].includes(typeof each))
    .map(([name, each]) => [
      text(name),
      typeof each === "string" ? text(each) : each,
    ]);
  return entries.length > 0 ? Object.fromEntries(entries) : undefined;
}

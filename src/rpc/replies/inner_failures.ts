/** The errors within an error on their way to a Warren: a bounded part of them, without secrets. @module */
import type { Failure } from "../../errors.ts";
import { detailsOf, INNER_PARTS, innerErrorsOf } from "../../inner_errors.ts";
import { isSecret, MASK, redact, redactText } from "../../redaction.ts";
import { type ErrorClasses, toFailure } from "../../wire/failure.ts";

/** Characters of the errors within an error in all, and of the message of each. */
const MAX_INNER_FAILURES = { characters: 32 * 1024, message: 2_000 };

/** The room that is left. */
interface Budget {
  errors: number;
  characters: number;
}

type InnerFailures = Pick<
  Failure,
  "details" | "cause" | "errors" | "error" | "suppressed"
>;

/**
 * The parts of an error, for its failure: scalars such as `code`, and other errors, 4 deep, 32 of them and 32 768 characters
 * at most. Texts that look like secrets are masked.
 */
export function innerFailuresOf(
  thrown: unknown,
  classes: ErrorClasses,
): InnerFailures {
  const left = {
    errors: INNER_PARTS.errors,
    characters: MAX_INNER_FAILURES.characters,
  };
  return collectFailures(thrown, classes, INNER_PARTS.depth, left);
}

function collectFailures(
  thrown: unknown,
  classes: ErrorClasses,
  depth: number,
  left: Budget,
): InnerFailures {
  if (!(thrown instanceof Error)) return {};
  const found: { -readonly [K in keyof InnerFailures]: InnerFailures[K] } = {};
  const details = Object.entries(detailsOf(thrown)).map(([name, value]) => [
    name,
    typeof value !== "string"
      ? value
      : isSecret(name)
      ? MASK
      : redactText(value),
  ]);
  if (details.length > 0) found.details = Object.fromEntries(details);
  if (depth === 0) return found;
  const errors: Failure[] = [];
  for (const { part, thrown: within } of innerErrorsOf(thrown)) {
    const failure = inner(within, classes, depth - 1, left);
    if (!failure) break;
    if (part === "errors") errors.push(failure);
    else found[part] = failure;
  }
  if (thrown instanceof AggregateError) found.errors = errors;
  return found;
}

/** Undefined where there is no room for it. */
function inner(
  thrown: unknown,
  classes: ErrorClasses,
  depth: number,
  left: Budget,
): Failure | undefined {
  const said = toFailure(thrown, { classes, fromDispatcher: false });
  const message = redactText(said.message, MAX_INNER_FAILURES.message);
  const data = redact(said.data) as Failure["data"];
  const own = { ...said, message, data };
  left.errors--;
  left.characters -= JSON.stringify(own).length;
  if (left.errors < 0 || left.characters < 0) return undefined;
  return { ...own, ...collectFailures(thrown, classes, depth, left) };
}

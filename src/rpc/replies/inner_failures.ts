/**
 * Encoding of the inner errors of an error for a peer that is Warren: a limited number of them, without secrets.
 *
 * @module
 */
import type { Failure } from "../../errors.ts";
import {
  detailsOf,
  INNER_ERROR_LIMITS,
  innerErrorsOf,
} from "../../inner_errors.ts";
import { isSecret, MASK, redact, redactText } from "../../redaction.ts";
import { type ErrorClasses, toFailure } from "../../wire/mod.ts";

/** Maximum characters of all inner errors of an error, and of each of their messages. */
const MAX_INNER_FAILURES = { characters: 32 * 1024, message: 2_000 };

/** Number of errors and characters that may still be added. */
interface Budget {
  errors: number;
  characters: number;
}

type InnerFailures = Pick<
  Failure,
  "details" | "cause" | "errors" | "error" | "suppressed"
>;

/**
 * Encodes the properties of an error: scalars such as `code`, and other errors, at most 4 deep, 32 of them and 32 768
 * characters. Texts that look like secrets are redacted.
 */
export function innerFailuresOf(
  thrown: unknown,
  classes: ErrorClasses,
): InnerFailures {
  const budget = {
    errors: INNER_ERROR_LIMITS.errors,
    characters: MAX_INNER_FAILURES.characters,
  };
  return collectFailures(thrown, classes, INNER_ERROR_LIMITS.depth, budget);
}

function collectFailures(
  thrown: unknown,
  classes: ErrorClasses,
  depth: number,
  budget: Budget,
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
  for (const { member, thrown: within } of innerErrorsOf(thrown)) {
    const failure = innerFailure(within, classes, depth - 1, budget);
    if (!failure) break;
    if (member === "errors") errors.push(failure);
    else found[member] = failure;
  }
  if (thrown instanceof AggregateError) found.errors = errors;
  return found;
}

/** Encodes one inner error; undefined if the budget is used up. */
function innerFailure(
  thrown: unknown,
  classes: ErrorClasses,
  depth: number,
  budget: Budget,
): Failure | undefined {
  const failure = toFailure(thrown, { classes, fromDispatcher: false });
  const message = redactText(failure.message, MAX_INNER_FAILURES.message);
  const data = redact(failure.data) as Failure["data"];
  const own = { ...failure, message, data };
  budget.errors--;
  budget.characters -= JSON.stringify(own).length;
  if (budget.errors < 0 || budget.characters < 0) return undefined;
  return { ...own, ...collectFailures(thrown, classes, depth, budget) };
}

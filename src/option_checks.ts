/** Checks of the values of options. @module */
import { InvalidValueError } from "./errors.ts";

/** What may name a program, its version or its zone. */
export const LABEL = /^[\x20-\x7e]{1,200}$/;

/**
 * A duration in milliseconds.
 *
 * @throws {InvalidValueError} naming the option.
 */
export function checkDuration(name: string, value: number): number {
  if (typeof value === "number" && value > 0) return value; // Infinity is a duration too
  throw new InvalidValueError(
    `Invalid option ${name} ${String(value)}: give milliseconds above 0`,
    { data: { path: name } },
  );
}

/**
 * A whole number.
 *
 * @throws {InvalidValueError} naming the option.
 */
export function checkInteger(
  name: string,
  value: number,
  least: number,
  most: number,
): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new InvalidValueError(
    `Invalid option ${name} ${
      String(value)
    }: give a whole number from ${least} to ${most}`,
    { data: { path: name } },
  );
}

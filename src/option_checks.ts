/** Checks for the values of options. @module */
import { InvalidValueError } from "./errors.ts";

/** Pattern for the name of a program, its version or its zone: 1 to 200 printable ASCII characters. */
export const LABEL = /^[\x20-\x7e]{1,200}$/;

/**
 * Checks a duration in milliseconds and returns it.
 *
 * @throws {InvalidValueError} the value is not above 0; the error names the option.
 */
export function checkDuration(name: string, value: number): number {
  if (typeof value === "number" && value > 0) return value; // Infinity is a duration too
  throw new InvalidValueError(
    `Invalid option ${name} ${String(value)}: give milliseconds above 0`,
    { data: { path: name } },
  );
}

/**
 * Checks a whole number and returns it.
 *
 * @throws {InvalidValueError} the value is outside the range; the error names the option.
 */
export function checkInteger(
  name: string,
  value: number,
  min: number,
  max: number,
): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new InvalidValueError(
    `Invalid option ${name} ${
      String(value)
    }: give a whole number from ${min} to ${max}`,
    { data: { path: name } },
  );
}

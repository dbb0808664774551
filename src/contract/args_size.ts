/** The bound that a procedure sets on the size of its arguments. @module */
import { Buffer } from "node:buffer";
import { InvalidValueError } from "../errors.ts";
import type { Procedure } from "./types.ts";

/** Bytes of the value as JSON in UTF-8; 0 for what JSON cannot carry: sending it is refused with a better reason. */
function sizeOf(value: unknown): number {
  try {
    return Buffer.byteLength(JSON.stringify(value));
  } catch {
    return 0;
  }
}

/**
 * Refuses arguments that are larger than their procedure takes, before a schema looks at them. It costs nothing where the
 * procedure sets no bound.
 *
 * @throws {InvalidValueError} with `data.bytes` and `data.limit`.
 */
export function checkSize(
  { maxArgsSize: limit }: Procedure,
  args: unknown,
  what: string,
): void {
  if (limit === undefined) return;
  const bytes = sizeOf(args);
  if (bytes <= limit) return;
  throw new InvalidValueError(
    `Invalid arguments of ${what}: ${bytes} bytes, its maxArgsSize is ${limit}`,
    { data: { path: "", bytes, limit } },
  );
}

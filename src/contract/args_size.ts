/** Limit on the size of a procedure's arguments. @module */
import { Buffer } from "node:buffer";
import { InvalidValueError } from "../errors.ts";
import type { Procedure } from "./types.ts";

/**
 * Returns the size of a value as JSON, in bytes of UTF-8; 0 for a value that JSON cannot represent, which is rejected
 * later with a better reason.
 */
function jsonBytes(value: unknown): number {
  try {
    return Buffer.byteLength(JSON.stringify(value));
  } catch {
    return 0;
  }
}

/**
 * Rejects arguments that are larger than their procedure accepts, before a schema validates them. Costs nothing for a
 * procedure without a limit.
 *
 * @throws {InvalidValueError} the arguments are too large; `data.bytes` and `data.limit` name the sizes.
 */
export function checkArgsSize(
  { maxArgsSize: limit }: Procedure,
  args: unknown,
  procedureName: string,
): void {
  if (limit === undefined) return;
  const bytes = jsonBytes(args);
  if (bytes <= limit) return;
  throw new InvalidValueError(
    `Invalid arguments of ${procedureName}: ${bytes} bytes, its maxArgsSize is ${limit}`,
    { data: { path: "", bytes, limit } },
  );
}

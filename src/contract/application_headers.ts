/** Headers of the application, which travel with a message beside Warren's own. @module */
import { Buffer } from "node:buffer";
import { InvalidValueError } from "../errors.ts";

/** Headers of the application. Warren forwards them, and reads none of them. */
export type ApplicationHeaders = Readonly<Record<string, string>>;

/** Application headers of one message at most, and the bytes of all their names and values. */
const MAX_HEADERS = 64;
const MAX_HEADER_BYTES = 8 * 1024;

/** Names of application headers. Names that begin with `warren-` are Warren's, with `x-` and `amq` the broker's. */
const NAME = /^(?!warren(-|$)|x-|amq|CC$|BCC$)[A-Za-z0-9_.-]{1,128}$/i;

/**
 * Checks application headers; undefined if there are none.
 *
 * @throws {InvalidValueError} a name or a value is wrong, or there are too many.
 */
export function checkApplicationHeaders(
  headers: ApplicationHeaders,
): ApplicationHeaders | undefined {
  const entries = Object.entries(headers);
  let bytes = 0;
  for (const [name, value] of entries) {
    if (!NAME.test(name) || typeof value !== "string") throw invalid(name);
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  }
  if (entries.length <= MAX_HEADERS && bytes <= MAX_HEADER_BYTES) {
    return entries.length > 0 ? headers : undefined;
  }
  throw new InvalidValueError(
    `Cannot send ${entries.length} headers of ${bytes} bytes: give ${MAX_HEADERS} of ${MAX_HEADER_BYTES} bytes in all at most`,
    { data: { path: "headers" } },
  );
}

function invalid(name: string): InvalidValueError {
  const start = name.slice(0, 128);
  return new InvalidValueError(
    `Invalid header ${
      JSON.stringify(start)
    }: give a string, under a name of 1 to 128 of A-Z a-z 0-9 - _ . that does not begin with warren-, x- or amq`,
    { data: { path: `headers.${start}` } },
  );
}

/** Returns the application headers of a received message. */
export function applicationHeaders(
  headers: Readonly<Record<string, unknown>>,
): ApplicationHeaders {
  return Object.fromEntries(
    Object.entries(headers).filter((entry): entry is [string, string] =>
      NAME.test(entry[0]) && typeof entry[1] === "string"
    ),
  );
}

/** Application headers, which are sent with a message in addition to Warren's own headers. @module */
import { Buffer } from "node:buffer";
import { InvalidValueError } from "../errors.ts";

/** Headers of the application. Warren forwards them without interpreting them. */
export type ApplicationHeaders = Readonly<Record<string, string>>;

/** Maximum number of application headers of one message, and maximum bytes of all their names and values. */
const MAX_HEADERS = 64;
const MAX_HEADER_BYTES = 8 * 1024;

/** Pattern of reserved names: Warren's own headers (`warren-…`) and the broker's. */
const RESERVED_NAME = /^(warren(-|$)|x-|amq|CC$|BCC$)/i;
/** Pattern of names of application headers. */
const NAME = /^(?!warren(-|$)|x-|amq|CC$|BCC$)[A-Za-z0-9_.-]{1,128}$/i;

/**
 * Checks that headers are a plain record.
 *
 * @throws {InvalidValueError} they are something else, e.g. a `Headers` object, whose entries are no properties.
 */
export function checkHeaderRecord(
  headers: unknown,
): asserts headers is Readonly<Record<string, unknown>> {
  if (typeof headers === "object" && headers !== null) {
    const prototype = Object.getPrototypeOf(headers);
    // The prototype of a plain record has none itself, also in another realm.
    if (prototype === null || Object.getPrototypeOf(prototype) === null) return;
  }
  throw new InvalidValueError(
    "Invalid headers: give a plain record, e.g. Object.fromEntries(headers)",
    { data: { path: "headers" } },
  );
}

/**
 * Copies application headers and checks the copy; undefined if there are none.
 *
 * @throws {InvalidValueError} a name or a value is invalid, or there are too many headers.
 */
export function checkApplicationHeaders(
  headers: ApplicationHeaders,
): ApplicationHeaders | undefined {
  checkHeaderRecord(headers);
  const copy = { ...headers }; // a getter could return another value later
  const entries = Object.entries(copy);
  let bytes = 0;
  for (const [name, value] of entries) {
    const valid = typeof value === "string" && value.isWellFormed();
    if (!NAME.test(name) || !valid) throw invalid(name);
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  }
  if (entries.length <= MAX_HEADERS && bytes <= MAX_HEADER_BYTES) {
    return entries.length > 0 ? copy : undefined;
  }
  const text = bytes > MAX_HEADER_BYTES
    ? `The application headers have ${bytes} bytes; the limit is ${MAX_HEADER_BYTES}`
    : `There are ${entries.length} application headers; the limit is ${MAX_HEADERS}`;
  throw new InvalidValueError(text, { data: { path: "headers" } });
}

function invalid(name: string): InvalidValueError {
  const start = name.slice(0, 128);
  return new InvalidValueError(
    `Invalid header ${JSON.stringify(start)}: ${brokenRule(name)}`,
    { data: { path: `headers.${start}` } },
  );
}

/** Returns the rule that the name or the value of a header breaks. */
function brokenRule(name: string): string {
  if (NAME.test(name)) {
    return "the value must be a string, without lone surrogates";
  }
  return RESERVED_NAME.test(name)
    ? "names that begin with warren-, x- or amq are reserved, as are CC and BCC"
    : "a name has 1 to 128 characters of A-Z a-z 0-9 - _ .";
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

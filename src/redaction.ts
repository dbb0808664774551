/** Redacts secrets from values before they are logged (Folsom `rpc/common.py`, `_safe_log`). @module */
import { RpcError } from "./errors.ts";
import {
  detailsOf,
  INNER_ERROR_LIMITS,
  innerErrorsOf,
} from "./inner_errors.ts";
import { escapeControls, truncate } from "./text.ts";

/** Endings of names whose values are secrets. */
const SECRET_ENDINGS =
  "(?:pass|password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|credentials?|authorization)";
const SECRET = new RegExp(`${SECRET_ENDINGS}$`, "i");
/** Text that replaces a secret. */
export const MASK = "<SANITIZED>";
/** Maximum depth of nested values that are copied, and maximum number of values. */
const MAX_DEPTH = 64;
const MAX_ITEMS = 10_000;

/** True for the name of a secret, which belongs neither in a log nor in an event. */
export function isSecret(key: string): boolean {
  return SECRET.test(key);
}

/** Copies a value with its secrets replaced. Values beyond the limits, and cycles, become an ellipsis. */
export function redact(value: unknown): unknown {
  return copy(value, { remaining: MAX_ITEMS, within: new Set() });
}

interface CopyState {
  /** Number of further values that may be copied. */
  remaining: number;
  /** Objects that contain the current value. */
  readonly within: Set<object>;
}

function copy(value: unknown, state: CopyState): unknown {
  if (state.remaining-- <= 0) return "…";
  if (typeof value === "string") return redactText(value, Infinity);
  if (typeof value !== "object" || value === null) return value;
  const { within } = state;
  if (within.size >= MAX_DEPTH || within.has(value)) return "…";
  within.add(value);
  const entries = Object.entries(value).map(([key, item]) => [
    redactText(key, Infinity),
    isSecret(key) ? MASK : copy(item, state),
  ]);
  within.delete(value);
  return Array.isArray(value)
    ? entries.map(([_, item]) => item)
    : Object.fromEntries(entries);
}

/**
 * Patterns of secrets in a text. Each takes linear time, since peers write the text: no pattern begins with a
 * repetition, and what follows the name cannot fail to match. A quotation without an end extends to the end of the
 * text.
 */
const QUOTED = String.raw`\\{1,8}"[^"]*"?|"[^"\\]*(?:\\[^][^"\\]*)*"?` +
  String.raw`|'[^'\\]*(?:\\[^][^'\\]*)*'?`;
const UNQUOTED = String.raw`[^\s"',;&]+`;
const rules: readonly [RegExp, string][] = [
  // HTTP's Authorization header, to the end of its line.
  [String
    .raw`(authorization\\{0,8}["']?\s{0,8}[=:,]\s{0,8})(?:${QUOTED}|[^\r\n"']+[^\r\n]*)`],
  [String.raw`\b(bearer\s{1,8})${UNQUOTED}`],
  // Validators quote the wrong value. RabbitMQ uses the same words for the properties of a queue, which are no secret.
  [String
    .raw`\b((?:received|was|got|with value)\s{1,8})(?!'[^']*' but current is)(?:${QUOTED}|${"`[^`]*`?"})`],
  [String
    .raw`(${SECRET_ENDINGS}\\{0,8}["']?\s{0,8}[=:]\s{0,8})(?:${QUOTED}|${UNQUOTED})`],
].map(([source = ""]) => [new RegExp(source, "gi"), `$1${MASK}`]);

/** Redacts the user and password of a URL; `word` has no spaces. */
function withoutUser(url: string): string {
  const start = url.indexOf("://") + 3;
  const end = url.lastIndexOf("@");
  return start < 3 || end <= start
    ? url
    : `${url.slice(0, start)}${MASK}${url.slice(end)}`;
}

/**
 * Number of characters of a text that are shown by default, and number of further characters that are inspected, so
 * that a secret at the limit is recognised.
 */
const MAX_TEXT_CHARACTERS = 10_000;
const SECRET_TAIL_CHARACTERS = 4_000;

/** Redacts secrets from a text, or from its first `maxCharacters` characters. */
export function redactText(
  text: string,
  maxCharacters: number = MAX_TEXT_CHARACTERS,
): string {
  const inspected = text.slice(0, maxCharacters + SECRET_TAIL_CHARACTERS);
  const withoutUsers = inspected.includes("://")
    ? inspected.replace(/[^\s"'<>]+/g, withoutUser)
    : inspected;
  return rules.reduce(
    (redacted, [rule, to]) => redacted.replace(rule, to),
    withoutUsers,
  )
    .slice(0, maxCharacters);
}

/** Maximum number of stack frames that are shown. */
const MAX_FRAMES = 10;
/** Bytes of an error in all, of its message, and each of its stack and its data. */
const MAX_ERROR_BYTES = 3_400;
const MAX_MESSAGE_BYTES = 1_500;
const MAX_SECTION_BYTES = 1_000;

/** Prepares a peer's text for the log: redacted, without control characters, and at most `maxBytes` long. */
export function logText(text: string, maxBytes: number): string {
  return truncate(escapeControls(redactText(text, maxBytes)), maxBytes);
}

/** Formats a value as one line of JSON without its secrets. */
function logValue(value: unknown, maxBytes: number): string {
  const json = JSON.stringify(
    redact(value),
    (_, item) => typeof item === "bigint" ? `${item}` : item,
  );
  return truncate(escapeControls(json ?? String(value)), maxBytes);
}

function framesOf({ stack }: Error): string {
  if (typeof stack !== "string") return "";
  const frames = stack.slice(0, MAX_TEXT_CHARACTERS).split("\n")
    .filter((line) => /^\s+at /.test(line)).slice(0, MAX_FRAMES);
  return frames.length === 0
    ? ""
    : ` ${
      logText(frames.map((frame) => frame.trim()).join(" "), MAX_SECTION_BYTES)
    }`;
}

/** Formats the `data` of an error. */
function dataOf(error: Error): string {
  const data = "data" in error ? error.data : undefined;
  const empty = typeof data !== "object" || data === null ||
    Object.keys(data).length === 0;
  return empty ? "" : ` ${logValue(data, MAX_SECTION_BYTES)}`;
}

/** Formats the scalar members that databases and the system add to an error. */
function detailsIn(error: Error): string {
  const details = error instanceof RpcError ? {} : detailsOf(error);
  return Object.keys(details).length === 0
    ? ""
    : ` ${logValue(details, MAX_SECTION_BYTES)}`;
}

/** Describes an error for the log: its message, data, stack and inner errors. `left` limits the errors in all. */
function describe(
  thrown: unknown,
  depth: number,
  budget: { errors: number },
  frames = true,
): string {
  if (!(thrown instanceof Error)) return `${loggableError(thrown)}`;
  const { name, message } = thrown;
  const summary = logText(`${name}: ${message}`, MAX_MESSAGE_BYTES);
  const innerErrors = innerErrorsOf(thrown);
  const descriptions = innerErrors.map(({ member, thrown: each }) =>
    depth > 0 && budget.errors-- > 0
      ? ` [${member}: ${
        describe(each, depth - 1, budget, innerErrors.length < 2)
      }]`
      : ` [${member}: …]`
  );
  const stack = frames ? framesOf(thrown) : "";
  return `${summary}${dataOf(thrown)}${detailsIn(thrown)}${stack}${
    descriptions.join("")
  }`;
}

/** Errors that `redactedError` created, and that need no second redaction. */
const redactedErrors = new WeakSet<Error>();

/**
 * Prepares a thrown value for the log: one redacted line of at most 3400 bytes. For an error, the result is an error
 * whose `stack` is that line, so that every formatter prints it.
 */
export function loggableError(
  thrown: unknown,
  maxBytes: number = MAX_ERROR_BYTES,
): unknown {
  try {
    if (typeof thrown === "string") return logText(thrown, maxBytes);
    if (typeof thrown === "object" && thrown !== null) {
      return thrown instanceof Error
        ? redactedError(thrown, Math.min(maxBytes, MAX_ERROR_BYTES))
        : logValue(thrown, maxBytes);
    }
    return typeof thrown === "function" || typeof thrown === "symbol"
      ? logText(String(thrown), maxBytes)
      : thrown;
  } catch {
    return "a value that cannot be read";
  }
}

function redactedError(error: Error, maxBytes: number): Error {
  const line = redactedErrors.has(error)
    ? `${error.stack}`
    : describe(error, INNER_ERROR_LIMITS.depth, {
      errors: INNER_ERROR_LIMITS.errors,
    });
  const copy = new Error(logText(`${error.message}`, MAX_MESSAGE_BYTES));
  Object.defineProperties(copy, {
    name: { value: logText(`${error.name}`, MAX_SECTION_BYTES) },
    stack: { value: truncate(line, maxBytes) },
  });
  redactedErrors.add(copy);
  return copy;
}

/** Values as a log may show them: what looks like a secret is masked (Folsom `rpc/common.py`, `_safe_log`). @module */
import { RpcError } from "./errors.ts";
import { detailsOf, INNER_PARTS, innerErrorsOf } from "./inner_errors.ts";
import { cut, escaped } from "./text.ts";

/** How names end whose values are secrets, whatever they are. */
const ENDINGS =
  "(?:pass|password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|credentials?|authorization)";
const SECRET = new RegExp(`${ENDINGS}$`, "i");
/** What stands for a secret. */
export const MASK = "<SANITIZED>";
/** Nested values that are looked at, and values in all. */
const MAX_DEPTH = 64;
const MAX_ITEMS = 10_000;

/** True for the name of something that no log, and no event, should hold. */
export function isSecret(key: string): boolean {
  return SECRET.test(key);
}

/** A copy whose secrets are masked; what is too deep, too much, or within itself, is not shown. */
export function redact(value: unknown): unknown {
  return copy(value, { left: MAX_ITEMS, within: new Set() });
}

interface Copying {
  /** How many more values are looked at. */
  left: number;
  /** Objects around this value. */
  readonly within: Set<object>;
}

function copy(value: unknown, copying: Copying): unknown {
  if (copying.left-- <= 0) return "…";
  if (typeof value === "string") return redactText(value, Infinity);
  if (typeof value !== "object" || value === null) return value;
  const { within } = copying;
  if (within.size >= MAX_DEPTH || within.has(value)) return "…";
  within.add(value);
  const entries = Object.entries(value).map(([key, item]) => [
    redactText(key, Infinity),
    isSecret(key) ? MASK : copy(item, copying),
  ]);
  within.delete(value);
  return Array.isArray(value)
    ? entries.map(([_, item]) => item)
    : Object.fromEntries(entries);
}

/**
 * Each of these takes linear time, since strangers write what is looked at: nothing before a name is matched, and what
 * follows it cannot fail. A quotation that was cut off ends with the text.
 */
const QUOTED = String.raw`\\{1,8}"[^"]*"?|"[^"\\]*(?:\\[^][^"\\]*)*"?` +
  String.raw`|'[^'\\]*(?:\\[^][^'\\]*)*'?`;
const BARE = String.raw`[^\s"',;&]+`;
const rules: readonly [RegExp, string][] = [
  // The header of HTTP, to the end of its line.
  [String
    .raw`(authorization\\{0,8}["']?\s{0,8}[=:,]\s{0,8})(?:${QUOTED}|[^\r\n"']+[^\r\n]*)`],
  [String.raw`\b(bearer\s{1,8})${BARE}`],
  // What validators say of a value. RabbitMQ says in the same words how a queue should be.
  [String
    .raw`\b((?:received|was|got|with value)\s{1,8})(?!'[^']*' but current is)(?:${QUOTED}|${"`[^`]*`?"})`],
  [String.raw`(${ENDINGS}\\{0,8}["']?\s{0,8}[=:]\s{0,8})(?:${QUOTED}|${BARE})`],
].map(([source = ""]) => [new RegExp(source, "gi"), `$1${MASK}`]);

/** The user information of a URL, in a text without spaces. */
function withoutUser(word: string): string {
  const from = word.indexOf("://") + 3;
  const to = word.lastIndexOf("@");
  return from < 3 || to <= from
    ? word
    : `${word.slice(0, from)}${MASK}${word.slice(to)}`;
}

/** Characters of a text that are shown, and how many more are looked at, lest a secret be cut in two. */
const MAX_WORD = 10_000;
const SECRET_TAIL = 4_000;

/** A text, or its first `longest` characters, with what looks like a secret in it masked. */
export function redactText(text: string, longest: number = MAX_WORD): string {
  const looked = text.slice(0, longest + SECRET_TAIL);
  const hosts = looked.includes("://")
    ? looked.replace(/[^\s"'<>]+/g, withoutUser)
    : looked;
  return rules.reduce((said, [rule, to]) => said.replace(rule, to), hosts)
    .slice(0, longest);
}

/** Calls of a stack that are shown. */
const FRAMES = 10;
/** Bytes of an error in all, of its message, and of its stack and its data each. */
const MAX_MESSAGE = 3_400;
const MESSAGE = 1_500;
const PART = 1_000;

/** A text of a stranger for the log: masked, and one line of so many bytes. */
export function logText(text: string, room: number): string {
  return cut(escaped(redactText(text, room)), room);
}

/** A value as one line of JSON, without its secrets. */
export function logValue(value: unknown, room: number): string {
  const json = JSON.stringify(
    redact(value),
    (_, item) => typeof item === "bigint" ? `${item}` : item,
  );
  return cut(escaped(json ?? String(value)), room);
}

function framesOf({ stack }: Error): string {
  if (typeof stack !== "string") return "";
  const frames = stack.slice(0, MAX_WORD).split("\n")
    .filter((line) => /^\s+at /.test(line)).slice(0, FRAMES);
  return frames.length === 0
    ? ""
    : ` ${logText(frames.map((frame) => frame.trim()).join(" "), PART)}`;
}

/** The `data` of an error. */
function dataOf(error: Error): string {
  const data = "data" in error ? error.data : undefined;
  const empty = typeof data !== "object" || data === null ||
    Object.keys(data).length === 0;
  return empty ? "" : ` ${logValue(data, PART)}`;
}

/** Scalars that databases and the system add to an error's message. */
function detailsIn(error: Error): string {
  const details = error instanceof RpcError ? {} : detailsOf(error);
  return Object.keys(details).length === 0 ? "" : ` ${logValue(details, PART)}`;
}

/** All of an error that a log shows: its message, its data, its stack and the errors within it, `left` of them in all. */
function described(
  thrown: unknown,
  depth: number,
  left: { errors: number },
  frames = true,
): string {
  if (!(thrown instanceof Error)) return `${loggableError(thrown)}`;
  const { name, message } = thrown;
  const head = logText(`${name}: ${message}`, MESSAGE);
  const within = innerErrorsOf(thrown);
  const told = within.map(({ part, thrown: each }) =>
    depth > 0 && left.errors-- > 0
      ? ` [${part}: ${described(each, depth - 1, left, within.length < 2)}]`
      : ` [${part}: …]`
  );
  const stack = frames ? framesOf(thrown) : "";
  return `${head}${dataOf(thrown)}${detailsIn(thrown)}${stack}${told.join("")}`;
}

/** Errors that were made for a log. */
const shown = new WeakSet<Error>();

/**
 * A thrown value for the log, in any format: one masked line of at most 3400 bytes. Of an error it
 * is an error, whose stack is that line, with its data and causes.
 */
export function loggableError(
  thrown: unknown,
  room: number = MAX_MESSAGE,
): unknown {
  try {
    if (typeof thrown === "string") return logText(thrown, room);
    if (typeof thrown === "object" && thrown !== null) {
      return thrown instanceof Error
        ? redactedError(thrown, Math.min(room, MAX_MESSAGE))
        : logValue(thrown, room);
    }
    return typeof thrown === "function" || typeof thrown === "symbol"
      ? logText(String(thrown), room)
      : thrown;
  } catch {
    return "what cannot be read";
  }
}

function redactedError(error: Error, room: number): Error {
  const line = shown.has(error)
    ? `${error.stack}`
    : described(error, INNER_PARTS.depth, { errors: INNER_PARTS.errors });
  const copy = new Error(logText(`${error.message}`, MESSAGE));
  Object.defineProperties(copy, {
    name: { value: logText(`${error.name}`, PART) },
    stack: { value: cut(line, room) },
  });
  shown.add(copy);
  return copy;
}

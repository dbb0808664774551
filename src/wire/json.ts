/** JSON as it arrives: hostile text is refused before it is parsed. @module */
import { InvalidValueError } from "../errors.ts";

/** Bounds on what is read and sent. */
export interface Limits {
  /** Bytes of a body. */
  readonly bytes: number;
  /** Nested arrays and objects. */
  readonly depth: number;
  /** Values in all. */
  readonly nodes: number;
  /**
   * True: bodies of Python's peers are read too: their `NaN`, `Infinity` and `-Infinity`, which are no JSON, as `null`, and bodies that
   * they compressed. Default false.
   */
  readonly python?: boolean | undefined;
}

/** 1 MiB, 64 deep, 100 000 values. */
export const defaultLimits: Limits = {
  bytes: 1024 * 1024,
  depth: 64,
  nodes: 100_000,
};

/** Bytes of a text that are looked at one by one, before its end is searched for. */
const SHORT = 32;
const QUOTE = 0x22, BACKSLASH = 0x5c;

/** That of a `Buffer` is slower. */
const { indexOf } = Uint8Array.prototype;

/** Where the quote is that ends a text; the length if none does. */
function endOfText(bytes: Uint8Array, start: number): number {
  const near = Math.min(start + SHORT, bytes.length);
  for (let i = start; i < near; i++) {
    if (bytes[i] === BACKSLASH) i++; // the next byte is no closing quote
    else if (bytes[i] === QUOTE) return i;
  }
  for (let from = start;;) {
    const quote = indexOf.call(bytes, QUOTE, from);
    if (quote < 0) return bytes.length;
    let first = quote;
    while (bytes[first - 1] === BACKSLASH) first--;
    if ((quote - first) % 2 === 0) return quote;
    from = quote + 1;
  }
}

/** Why a body is not accepted; undefined if it is. */
export function limitViolation(
  bytes: Uint8Array,
  limits: Limits,
): string | undefined {
  if (bytes.length > limits.bytes) {
    return `${bytes.length} bytes, the limit is ${limits.bytes}`;
  }
  let depth = 0, nodes = 1;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === QUOTE) i = endOfText(bytes, i + 1);
    else if (byte === 0x2c) nodes++; // a comma
    else if (byte === 0x7b || byte === 0x5b) { // an opening brace or bracket
      nodes++;
      if (++depth > limits.depth) return `nested deeper than ${limits.depth}`;
    } else if (byte === 0x7d || byte === 0x5d) depth--;
  }
  return nodes > limits.nodes ? `more than ${limits.nodes} values` : undefined;
}

/**
 * The same of a body whose values are known to be carried by JSON, and so not to be nested too deep. No value takes less than
 * a byte.
 */
export function sendLimitViolation(
  bytes: Uint8Array,
  limits: Limits,
): string | undefined {
  const small = bytes.length <= Math.min(limits.nodes, limits.bytes) &&
    limits.depth >= defaultLimits.depth;
  return small ? undefined : limitViolation(bytes, limits);
}

function hasPrototypeKey(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return Object.hasOwn(value, "__proto__") ||
    Object.values(value).some(hasPrototypeKey);
}

/** The strict one takes five times as long. */
const utf8 = new TextDecoder(),
  strict = new TextDecoder("utf-8", { fatal: true });
/** What stands in a text for bytes that are no UTF-8, unless it was written there. */
const UNREADABLE = "\uFFFD";

/** Numbers that Python writes into JSON, by their first character. */
const PYTHON: Readonly<Record<string, string>> = {
  N: "NaN",
  I: "Infinity",
  "-": "-Infinity",
};

/** The text with `null` in place of Python's numbers, outside strings. In one pass; it need not be JSON. */
function withoutNaN(text: string): string {
  const marks = /["NI-]/g;
  let read = "", from = 0;
  for (let mark = marks.exec(text); mark; mark = marks.exec(text)) {
    const at = mark.index;
    if (mark[0] === '"') marks.lastIndex = endOfString(text, at + 1);
    const number = PYTHON[mark[0]];
    if (number === undefined || !text.startsWith(number, at)) continue;
    read += `${text.slice(from, at)}null`;
    marks.lastIndex = from = at + number.length;
  }
  return read + text.slice(from);
}

/** The character after the quote that ends a string; the end of the text if none does. */
function endOfString(text: string, start: number): number {
  const ends = /["\\]/g;
  ends.lastIndex = start;
  for (let end = ends.exec(text); end; end = ends.exec(text)) {
    if (end[0] === '"') return end.index + 1;
    ends.lastIndex = end.index + 2; // the character after a backslash is no closing quote
  }
  return text.length;
}

/** The value of a JSON text. */
function valueOf(text: string, python: boolean): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!python) throw error;
    return JSON.parse(withoutNaN(text));
  }
}

/** Parses a body, or says in a few words why not. Never throws. */
export function parseJson(
  bytes: Uint8Array,
  limits: Limits,
): { value: unknown } | { refused: string } {
  const reason = limitViolation(bytes, limits);
  if (reason !== undefined) return { refused: reason };
  try {
    const lax = utf8.decode(bytes);
    const text = lax.includes(UNREADABLE) ? strict.decode(bytes) : lax;
    const value = valueOf(text, limits.python ?? false);
    // The key may be written with escapes, so look closer at a text that has any.
    const suspect = text.includes("__proto__") || text.includes("\\u");
    return suspect && hasPrototypeKey(value)
      ? { refused: 'a key "__proto__"' }
      : { value };
  } catch {
    return { refused: "not JSON in UTF-8" };
  }
}

const plain = (value: object) => {
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
};

const identifier = /^[A-Za-z_$][\w$]*$/;
const step = (path: string, key: string) =>
  identifier.test(key)
    ? (path ? `${path}.${key}` : key)
    : `${path}[${JSON.stringify(key)}]`;

function jsonError(path: string, found: string): never {
  throw new InvalidValueError(
    `${
      path || "The value"
    } is ${found}, which JSON cannot carry; give strings, finite numbers, booleans, null, arrays and plain objects`,
    { data: { path } },
  );
}

/** True for what JSON carries as it is: it arrives with all that it has, and with nothing else. */
function isExact(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return Number.isFinite(value);
    case "object":
      return value === null || isExactObject(value, depth);
    default:
      return false;
  }
}

function isExactObject(value: object, depth: number): boolean {
  if (depth === 0 || "toJSON" in value) return false;
  if (Array.isArray(value)) {
    // A list that JSON would rob of its class, of holes, or of what it has beside its items (e.g. a `RegExp`'s match).
    if (Object.getPrototypeOf(value) !== Array.prototype) return false;
    if (Object.keys(value).length !== value.length) return false;
    return value.every((item) => isExact(item, depth - 1));
  }
  if (!plain(value) || Object.hasOwn(value, "__proto__")) return false;
  if (Object.getOwnPropertySymbols(value).length > 0) return false;
  return Object.values(value).every((item) =>
    item === undefined || isExact(item, depth - 1) // an absent key, in JavaScript's usual reading
  );
}

/** The same with the path of what JSON cannot carry. Lists and objects may have more than JSON carries of them. */
function check(value: unknown, path: string, depth: number): void {
  switch (typeof value) {
    case "string":
    case "boolean":
      return;
    case "number":
      return Number.isFinite(value)
        ? undefined
        : jsonError(path, String(value));
    case "object":
      return value === null ? undefined : checkObject(value, path, depth);
    default:
      return jsonError(
        path,
        typeof value === "undefined" ? "undefined" : `a ${typeof value}`,
      );
  }
}

function checkObject(value: object, path: string, depth: number): void {
  if (depth === 0) {
    jsonError(path, `nested deeper than ${defaultLimits.depth}, or a cycle`);
  }
  const list = Array.isArray(value);
  if (!list && !plain(value)) {
    jsonError(
      path,
      `a ${value.constructor?.name ?? "object without a plain prototype"}`,
    );
  }
  if ("toJSON" in value) jsonError(path, "an object with a method toJSON");
  if (list) {
    for (let i = 0; i < value.length; i++) {
      check(value[i], `${path}[${i}]`, depth - 1);
    }
    return;
  }
  if (Object.hasOwn(value, "__proto__")) {
    jsonError(path, 'an object with a key "__proto__"');
  }
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined) check(item, step(path, key), depth - 1);
  }
}

/**
 * Refuses what JSON would change or drop: `undefined` in an array or alone, NaN, dates, maps, classes, cycles. With
 * `strict` also lists of a class of their own or with more than items, and objects with symbols for keys.
 *
 * @throws {InvalidValueError} naming the path.
 */
export function assertJson(value: unknown, path = "", strict = false): void {
  const depth = defaultLimits.depth - 2; // the message around it takes two levels
  if (isExact(value, depth)) return;
  check(value, path, depth);
  if (strict) jsonError(path, "a value with more than its items and keys");
}

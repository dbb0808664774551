/** Parses JSON from peers, which is checked before it is parsed, and checks values before they are sent. @module */
import { InvalidValueError } from "../errors.ts";
import { withoutNaN } from "./python.ts";
import type { JsonObject } from "./rpc_message.ts";

/** Limits for bodies that are received and sent. */
export interface Limits {
  /** Size of a body in bytes. */
  readonly bytes: number;
  /** Levels of nested arrays and objects. */
  readonly depth: number;
  /** Number of values. */
  readonly nodes: number;
  /**
   * True to accept what peers in Python send: `NaN`, `Infinity` and `-Infinity`, which are not JSON and are read as
   * `null`, and compressed bodies. Default false.
   */
  readonly python?: boolean | undefined;
}

/** Default limits: 1 MiB, 64 levels, 100 000 values. */
export const defaultLimits: Limits = {
  bytes: 1024 * 1024,
  depth: 64,
  nodes: 100_000,
};

/** Bytes of a string that are scanned one by one, before its end is searched with `indexOf`. */
const DIRECT_SCAN_BYTES = 32;
const QUOTE = 0x22, BACKSLASH = 0x5c;

/** The method of `Buffer` is slower. */
const { indexOf } = Uint8Array.prototype;

/** Returns the index of the closing quote of a string; the length if there is none. */
function endOfText(bytes: Uint8Array, start: number): number {
  const scanEnd = Math.min(start + DIRECT_SCAN_BYTES, bytes.length);
  for (let i = start; i < scanEnd; i++) {
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

const tooDeep = ({ depth }: Limits) => `nested deeper than ${depth}`;

/** Returns the reason why a body exceeds the limits; undefined if it does not. */
function limitViolation(
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
    else if (byte === 0x2c) nodes++; // comma
    else if (byte === 0x7b || byte === 0x5b) { // opening brace or bracket
      nodes++;
      if (++depth > limits.depth) return tooDeep(limits);
    } else if (byte === 0x7d || byte === 0x5d) depth--;
  }
  return nodes > limits.nodes ? `more than ${limits.nodes} values` : undefined;
}

/** True for a body that cannot have too many values, since no value takes less than a byte. */
const isSmall = (bytes: Uint8Array, limits: Limits) =>
  bytes.length <= Math.min(limits.nodes, limits.bytes);

/**
 * Returns the reason why a body that is to be sent exceeds the limits; undefined if it does not. `assertJson` has
 * checked its depth before, so a small body needs no scan.
 */
export function sendLimitViolation(
  bytes: Uint8Array,
  limits: Limits,
): string | undefined {
  const small = isSmall(bytes, limits) && limits.depth >= defaultLimits.depth;
  return small ? undefined : limitViolation(bytes, limits);
}

function hasPrototypeKey(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return Object.hasOwn(value, "__proto__") ||
    Object.values(value).some(hasPrototypeKey);
}

/** True if arrays and objects of parsed JSON are nested deeper than that many levels. */
function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (levels === 0) return true;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      if (isDeeper(value[i], levels - 1)) return true;
    }
    return false;
  }
  const fields = value as JsonObject;
  for (const key in fields) {
    if (isDeeper(fields[key], levels - 1)) return true;
  }
  return false;
}

/** Decoders for UTF-8. The strict one takes five times as long. */
const utf8 = new TextDecoder(),
  strict = new TextDecoder("utf-8", { fatal: true });
/** Character that replaces bytes which are not UTF-8. It may also have been sent as such. */
const REPLACEMENT_CHARACTER = "\uFFFD";

/** Parses a JSON text; on failure, with `python`, again without Python's numbers. */
function valueOf(text: string, python: boolean): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!python) throw error;
    return JSON.parse(withoutNaN(text));
  }
}

/** True for an object of parsed JSON, not for an array or null. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Parses a body, or returns a short reason why it is rejected. Never throws. */
export function parseJson(
  bytes: Uint8Array,
  limits: Limits,
): { value: unknown } | { rejected: string } {
  const small = isSmall(bytes, limits); // its depth is checked after it is parsed, which is much faster
  const reason = small ? undefined : limitViolation(bytes, limits);
  if (reason !== undefined) return { rejected: reason };
  try {
    const lenient = utf8.decode(bytes);
    const text = lenient.includes(REPLACEMENT_CHARACTER)
      ? strict.decode(bytes)
      : lenient;
    const value = valueOf(text, limits.python ?? false);
    if (small && isDeeper(value, limits.depth)) {
      return { rejected: tooDeep(limits) };
    }
    // The key may be written with escapes, so a text that has any is inspected after parsing.
    const mayHavePrototypeKey = text.includes("__proto__") ||
      text.includes("\\u");
    return mayHavePrototypeKey && hasPrototypeKey(value)
      ? { rejected: 'a key "__proto__"' }
      : { value };
  } catch {
    return { rejected: "not JSON in UTF-8" };
  }
}

const isPlain = (value: object) => {
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
};

const identifier = /^[A-Za-z_$][\w$]*$/;
const childPath = (path: string, key: string) =>
  identifier.test(key)
    ? (path ? `${path}.${key}` : key)
    : `${path}[${JSON.stringify(key)}]`;

function jsonError(path: string, found: string): never {
  throw new InvalidValueError(
    `${
      path || "The value"
    } is ${found}, which JSON cannot represent; give strings, finite numbers, booleans, null, arrays and plain objects`,
    { data: { path } },
  );
}

/** True for a value that JSON represents exactly: the receiver gets all of it, and nothing more. */
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
    // JSON would drop the class, holes and extra properties of an array (e.g. of a `RegExp` match).
    if (Object.getPrototypeOf(value) !== Array.prototype) return false;
    if (Object.keys(value).length !== value.length) return false;
    return value.every((item) => isExact(item, depth - 1));
  }
  if (!isPlain(value) || Object.hasOwn(value, "__proto__")) return false;
  if (Object.getOwnPropertySymbols(value).length > 0) return false;
  const fields = value as JsonObject;
  for (const key in fields) {
    const item = fields[key];
    if (item !== undefined && !isExact(item, depth - 1)) return false; // undefined is an absent key, as usual in JavaScript
  }
  return true;
}

/**
 * Throws for a value that JSON cannot represent; the message names its path. Extra properties of arrays and objects,
 * which JSON drops, are allowed.
 */
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
  if (!list && !isPlain(value)) {
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
    if (item !== undefined) check(item, childPath(path, key), depth - 1);
  }
}

/**
 * Rejects values that JSON would change or drop: `undefined` in an array or alone, NaN, dates, maps, classes, cycles.
 * With `strict`, also rejects arrays of a subclass or with extra properties, and objects with symbols as keys.
 *
 * @throws {InvalidValueError} JSON cannot represent the value; the message names its path.
 */
export function assertJson(value: unknown, path = "", strict = false): void {
  const depth = defaultLimits.depth - 2; // the message around the value takes two levels
  if (isExact(value, depth)) return;
  check(value, path, depth);
  if (strict) {
    jsonError(
      path,
      "an array with other properties than items, or an object with symbols as keys",
    );
  }
}

/** JSON that says what it cannot carry, and that refuses hostile text before it parses it. @module */
import { InvalidValueError } from "../errors.ts";

/** Bounds on what is read and sent. */
export interface Limits {
  /** Bytes of a body. */
  readonly bytes: number;
  /** Nested arrays and objects. */
  readonly depth: number;
  /** Values in all. */
  readonly nodes: number;
}

/** 1 MiB, 64 deep, 100 000 values. */
export const defaultLimits: Limits = {
  bytes: 1024 * 1024,
  depth: 64,
  nodes: 100_000,
};

/** Why a text is not parsed; undefined if nothing is wrong with it so far. */
function hostile(bytes: Uint8Array, limits: Limits): string | undefined {
  let depth = 0, nodes = 1, quoted = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (quoted) {
      if (byte === 0x5c) i++; // a backslash: the next byte is no closing quote
      else if (byte === 0x22) quoted = false;
    } else if (byte === 0x22) quoted = true;
    else if (byte === 0x2c) nodes++; // a comma
    else if (byte === 0x7b || byte === 0x5b) { // an opening brace or bracket
      nodes++;
      if (++depth > limits.depth) return `nested deeper than ${limits.depth}`;
    } else if (byte === 0x7d || byte === 0x5d) depth--;
  }
  return nodes > limits.nodes ? `more than ${limits.nodes} values` : undefined;
}

function hasPrototypeKey(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return Object.hasOwn(value, "__proto__") ||
    Object.values(value).some(hasPrototypeKey);
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Parses a body, or says in a few words why not. Never throws. */
export function parseJson(
  bytes: Uint8Array,
  limits: Limits,
): { value: unknown } | { refused: string } {
  if (bytes.length > limits.bytes) {
    return { refused: `${bytes.length} bytes, the limit is ${limits.bytes}` };
  }
  const reason = hostile(bytes, limits);
  if (reason !== undefined) return { refused: reason };
  try {
    const text = utf8.decode(bytes);
    const value: unknown = JSON.parse(text);
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

function fault(path: string, found: string): never {
  throw new InvalidValueError(
    `${
      path || "The value"
    } is ${found}, which JSON cannot carry; give strings, finite numbers, booleans, null, arrays and plain objects`,
    { data: { path } },
  );
}

function check(value: unknown, path: string, depth: number): void {
  switch (typeof value) {
    case "string":
    case "boolean":
      return;
    case "number":
      return Number.isFinite(value) ? undefined : fault(path, String(value));
    case "object":
      return value === null ? undefined : checkObject(value, path, depth);
    default:
      return fault(
        path,
        typeof value === "undefined" ? "undefined" : `a ${typeof value}`,
      );
  }
}

function checkObject(value: object, path: string, depth: number): void {
  if (depth === 0) {
    fault(path, `nested deeper than ${defaultLimits.depth}, or a cycle`);
  }
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      check(value[i], `${path}[${i}]`, depth - 1);
    }
    return;
  }
  if (!plain(value)) {
    fault(
      path,
      `a ${value.constructor?.name ?? "object without a plain prototype"}`,
    );
  }
  if ("toJSON" in value) fault(path, "an object with a method toJSON");
  if (Object.hasOwn(value, "__proto__")) {
    fault(path, 'an object with a key "__proto__"');
  }
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined) check(item, step(path, key), depth - 1); // an absent key, in JavaScript's usual reading
  }
}

/**
 * Refuses what JSON would change or drop: `undefined` in an array or alone, NaN, dates, maps, classes, cycles.
 *
 * @throws {InvalidValueError} naming the path.
 */
export function checkJson(value: unknown, path = ""): void {
  check(value, path, defaultLimits.depth - 2); // the message around it takes two levels
}

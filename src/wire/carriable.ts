/** JSON as it leaves: what it cannot carry is refused, never silently changed. @module */
import { InvalidValueError } from "../errors.ts";
import { defaultLimits } from "./json.ts";

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

/** True for what JSON carries as it is: it arrives with all that it has, and with nothing else. */
function exact(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return Number.isFinite(value);
    case "object":
      return value === null || exactObject(value, depth);
    default:
      return false;
  }
}

function exactObject(value: object, depth: number): boolean {
  if (depth === 0 || "toJSON" in value) return false;
  if (Array.isArray(value)) {
    // A list that JSON would rob of its class, of holes, or of what it has beside its items (e.g. a `RegExp`'s match).
    if (Object.getPrototypeOf(value) !== Array.prototype) return false;
    if (Object.keys(value).length !== value.length) return false;
    return value.every((item) => exact(item, depth - 1));
  }
  if (!plain(value) || Object.hasOwn(value, "__proto__")) return false;
  if (Object.getOwnPropertySymbols(value).length > 0) return false;
  return Object.values(value).every((item) =>
    item === undefined || exact(item, depth - 1) // an absent key, in JavaScript's usual reading
  );
}

/** The same with the path of what JSON cannot carry. Lists and objects may have more than JSON carries of them. */
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
  const list = Array.isArray(value);
  if (!list && !plain(value)) {
    fault(
      path,
      `a ${value.constructor?.name ?? "object without a plain prototype"}`,
    );
  }
  if ("toJSON" in value) fault(path, "an object with a method toJSON");
  if (list) {
    for (let i = 0; i < value.length; i++) {
      check(value[i], `${path}[${i}]`, depth - 1);
    }
    return;
  }
  if (Object.hasOwn(value, "__proto__")) {
    fault(path, 'an object with a key "__proto__"');
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
export function checkJson(value: unknown, path = "", strict = false): void {
  const depth = defaultLimits.depth - 2; // the message around it takes two levels
  if (exact(value, depth)) return;
  check(value, path, depth);
  if (strict) fault(path, "a value with more than its items and keys");
}

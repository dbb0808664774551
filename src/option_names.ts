/** Checks the names in options objects, and treats options that are `undefined` as absent. @module */
import { InvalidValueError } from "./errors.ts";
import { oneLine } from "./logging.ts";

/** Names that an options object may have. */
export type OptionNames = ReadonlySet<string>;

/**
 * Returns the names of the options of `T`, and those of `extra`. The compiler rejects a list that lacks a name or has a
 * wrong one.
 */
export function namesOf<T>(
  names: Readonly<Record<keyof T & string, true>>,
  ...extra: readonly OptionNames[]
): OptionNames {
  return new Set([...Object.keys(names), ...extra.flatMap((set) => [...set])]);
}

/**
 * Rejects an options object with an unknown name, even if its value is `undefined`. An instance of a user's class is
 * not checked, since it may have members of its own.
 *
 * @throws {InvalidValueError} an option is unknown; the message contains its name and the allowed names.
 */
export function checkNames(
  options: object,
  names: OptionNames,
  path = "",
): void {
  if (typeof options !== "object" || options === null) {
    const description = path ? `option ${path.slice(0, -1)}` : "options";
    throw invalid(
      path.slice(0, -1),
      `${description} ${oneLine(options, 40)}`,
      names,
    );
  }
  for (const name in options) {
    if (names.has(name) || !isPlain(options)) continue;
    if (!Object.hasOwn(options, name)) continue;
    const displayed = path + oneLine(name, 60);
    throw invalid(
      displayed,
      `option ${displayed}: there is none of that name`,
      names,
    );
  }
}

function invalid(path: string, description: string, names: OptionNames) {
  const allowed = [...names].join(", ");
  return new InvalidValueError(
    `Invalid ${description}; give some of ${allowed}`,
    {
      data: { path },
    },
  );
}

/** True for a plain object, not an instance of a class. */
export function isPlain(object: object): boolean {
  const prototype = Object.getPrototypeOf(object);
  return prototype === Object.prototype || prototype === null;
}

/** Copies an object without the members whose value is `undefined`. */
export function withoutUndefined<T extends object>(options: T): T {
  return override({} as T, options);
}

/** Merges two objects; members of `options` that are not `undefined` replace those of `defaults`. */
export function override<A extends object, B extends object>(
  defaults: A,
  options: B,
): A & B {
  const merged = { ...defaults, ...options };
  for (const name in options) {
    if (options[name] !== undefined) continue;
    if (name in defaults) {
      Object.assign(merged, { [name]: Reflect.get(defaults, name) });
    } else Reflect.deleteProperty(merged, name);
  }
  return merged;
}

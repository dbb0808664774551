/** Options objects of users: the names that each may have, and `undefined` as what is not given. @module */
import { InvalidValueError } from "./errors.ts";
import { oneLine } from "./logging.ts";

/** The names that an options object may have. */
export type OptionNames = ReadonlySet<string>;

/** The names of the options of `T`: the compiler refuses a list that lacks one of them, or has another. */
export function namesOf<T>(
  names: Readonly<Record<keyof T & string, true>>,
  ...more: readonly OptionNames[]
): OptionNames {
  return new Set([...Object.keys(names), ...more.flatMap((set) => [...set])]);
}

/**
 * Refuses an options object with a name that no option has, also if its value is `undefined`. An object of a class of the
 * user's may have further members, and is not looked at.
 *
 * @throws {InvalidValueError} naming the option and those that are allowed.
 */
export function checkNames(
  options: object,
  names: OptionNames,
  path = "",
): void {
  if (typeof options !== "object" || options === null) {
    const what = path ? `option ${path.slice(0, -1)}` : "options";
    throw invalid(path.slice(0, -1), `${what} ${oneLine(options, 40)}`, names);
  }
  for (const name in options) {
    if (names.has(name) || !isPlain(options)) continue;
    if (!Object.hasOwn(options, name)) continue;
    const shown = path + oneLine(name, 60);
    throw invalid(shown, `option ${shown}: there is none of that name`, names);
  }
}

function invalid(path: string, what: string, names: OptionNames) {
  const allowed = [...names].join(", ");
  return new InvalidValueError(`Invalid ${what}; give some of ${allowed}`, {
    data: { path },
  });
}

/** True for an object of no class. */
export function isPlain(object: object): boolean {
  const prototype = Object.getPrototypeOf(object);
  return prototype === Object.prototype || prototype === null;
}

/** A copy of an object without the keys whose value is `undefined`. */
export function given<T extends object>(options: T): T {
  return override({} as T, options);
}

/** A copy of `defaults` in which whatever is given in `options` takes its place. */
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

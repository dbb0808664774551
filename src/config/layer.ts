/** One level of the configuration: values that were given in one place, each checked, with where it came from. @module */
import type { Config, ConfigOptions, Key } from "./types.ts";
import { InvalidValueError } from "../errors.ts";
import type { Field } from "./field.ts";
import { fields, keys } from "./fields.ts";
import { shown, shownName } from "./display.ts";

/** Where a value came from. */
export interface Origin {
  /** What it is there. */
  readonly noun: "option" | "variable" | "key";
  /** Its name there. */
  readonly name: string;
  /** The file, for a key. */
  readonly file?: string | undefined;
}

/** A value that was given. */
export interface Found {
  /** Checked. */
  readonly value: unknown;
  /** Where it came from. */
  readonly origin: Origin;
}

/** What was given in one place. */
export type Level = ReadonlyMap<Key, Found>;

/** All fields, whatever their types. */
export const table: Readonly<Record<Key, Field<unknown>>> = fields;

const inFile = ({ file }: Origin) =>
  file === undefined ? "" : ` in ${shownName(file)}`;

/** The one sentence that says what is wrong. `value` is as it may be seen. */
export function wrong(
  origin: Origin,
  value: string,
  allowed: string,
): InvalidValueError {
  const { noun, name } = origin;
  return new InvalidValueError(
    `Invalid ${noun} ${name} ${value}${inFile(origin)}: give ${allowed}`,
    { data: { path: name } },
  );
}

/** The one sentence about a name that nobody knows. */
export function unknownName(
  origin: Origin,
  known: readonly string[],
): InvalidValueError {
  const name = shownName(origin.name);
  return new InvalidValueError(
    `Unknown ${origin.noun} ${name}${inFile(origin)}: give some of ${
      known.join(", ")
    }`,
    { data: { path: name } },
  );
}

/**
 * A value, checked.
 *
 * @throws {InvalidValueError} it is not what its field allows.
 */
export function found(key: Key, given: unknown, origin: Origin): Found {
  const { schema, fromText, shown, allowed, why } = table[key];
  const text = origin.noun === "variable" ? fromText(String(given)) : given;
  // zod's own words would be several sentences, and could hold the value.
  const { success, data } = schema.safeParse(text);
  if (!success) {
    const reason = why?.(text);
    const more = reason === undefined ? "" : ` (${reason})`;
    throw wrong(origin, shown(given), `${allowed}${more}`);
  }
  return { value: data, origin };
}

const TLS = "tls";
const isKey = (path: string): path is Key => Object.hasOwn(fields, path);

/** The values of an object by their paths: those of `tls` are one step down. */
function* paths(
  given: object,
  origin: (path: string) => Origin,
): Generator<[path: string, value: unknown]> {
  for (const [name, value] of Object.entries(given)) {
    if (name !== TLS) yield [name, value];
    else if (isPlain(value)) {
      for (const [part, inner] of Object.entries(value)) {
        yield [`${TLS}.${part}`, inner];
      }
    } else if (value !== undefined) {
      const parts = keys.filter((key) => key.startsWith(`${TLS}.`));
      throw wrong(origin(TLS), shown(value), `an object: ${parts.join(", ")}`);
    }
  }
}

/** An object that is no list. */
export function isPlain(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * The level of an object: of the options, or of the file. What is undefined was not given.
 *
 * @throws {InvalidValueError} a value is wrong, or its name unknown.
 */
export function levelOf(
  given: object,
  origin: (path: string) => Origin,
): Level {
  const level = new Map<Key, Found>();
  for (const [path, value] of paths(given, origin)) {
    if (!isKey(path)) throw unknownName(origin(path), keys);
    if (value !== undefined) level.set(path, found(path, value, origin(path)));
  }
  return level;
}

/** How a configuration came to be. */
export interface Provenance {
  /** What the program said. */
  readonly options: ConfigOptions;
  /** Where each value came from; what has none is a default. */
  readonly origins: ReadonlyMap<Key, Origin>;
}

const known = new WeakMap<Config, Provenance>();

/** Remembers how a configuration came to be. */
export function remember(config: Config, provenance: Provenance): void {
  known.set(config, provenance);
}

/** How a configuration came to be; undefined if nobody loaded it, or it is a copy. */
export function provenanceOf(config: Config): Provenance | undefined {
  return known.get(config);
}

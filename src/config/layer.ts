/** One level of the configuration: values that were given in one place, each checked, with where it came from. @module */
import type { Config, ConfigOptions, Key } from "./types.ts";
import { InvalidValueError } from "../errors.ts";
import type { Field } from "./field.ts";
import { fields, keys } from "./fields.ts";
import { displayName, displayValue } from "./display.ts";

/** Where a value came from. */
export interface Source {
  /** What it is there. */
  readonly kind: "option" | "variable" | "key";
  /** Its name there. */
  readonly name: string;
  /** The file, for a key. */
  readonly file?: string | undefined;
}

/** A value that was given. */
export interface LayerValue {
  /** Checked. */
  readonly value: unknown;
  /** Where it came from. */
  readonly source: Source;
}

/** What was given in one place. */
export type ConfigLayer = ReadonlyMap<Key, LayerValue>;

/** All fields, whatever their types. */
export const fieldTable: Readonly<Record<Key, Field<unknown>>> = fields;

const inFile = ({ file }: Source) =>
  file === undefined ? "" : ` in ${displayName(file)}`;

/** The one sentence that says what is wrong. `value` is as it may be seen. */
export function invalidValue(
  source: Source,
  value: string,
  allowed: string,
): InvalidValueError {
  const { kind, name } = source;
  return new InvalidValueError(
    `Invalid ${kind} ${name} ${value}${inFile(source)}: give ${allowed}`,
    { data: { path: name } },
  );
}

/** The one sentence about a name that nobody knows. */
export function unknownName(
  source: Source,
  known: readonly string[],
): InvalidValueError {
  const name = displayName(source.name);
  return new InvalidValueError(
    `Unknown ${source.kind} ${name}${inFile(source)}: give some of ${
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
export function layerValue(
  key: Key,
  input: unknown,
  source: Source,
): LayerValue {
  const { schema, fromText, display, allowed, explainError } = fieldTable[key];
  const text = source.kind === "variable" ? fromText(String(input)) : input;
  // zod's own words would be several sentences, and could hold the value.
  const { success, data } = schema.safeParse(text);
  if (!success) {
    const reason = explainError?.(text);
    const more = reason === undefined ? "" : ` (${reason})`;
    throw invalidValue(source, display(input), `${allowed}${more}`);
  }
  return { value: data, source };
}

const TLS = "tls";
const isKey = (path: string): path is Key => Object.hasOwn(fields, path);

/** The values of an object by their paths: those of `tls` are one step down. */
function* entriesByPath(
  object: object,
  sourceOf: (path: string) => Source,
): Generator<[path: string, value: unknown]> {
  for (const [name, value] of Object.entries(object)) {
    if (name !== TLS) yield [name, value];
    else if (isPlain(value)) {
      for (const [part, inner] of Object.entries(value)) {
        yield [`${TLS}.${part}`, inner];
      }
    } else if (value !== undefined) {
      const parts = keys.filter((key) => key.startsWith(`${TLS}.`));
      throw invalidValue(
        sourceOf(TLS),
        displayValue(value),
        `an object: ${parts.join(", ")}`,
      );
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
export function layerOf(
  object: object,
  sourceOf: (path: string) => Source,
): ConfigLayer {
  const layer = new Map<Key, LayerValue>();
  for (const [path, value] of entriesByPath(object, sourceOf)) {
    if (!isKey(path)) throw unknownName(sourceOf(path), keys);
    if (value !== undefined) {
      layer.set(path, layerValue(path, value, sourceOf(path)));
    }
  }
  return layer;
}

/** How a configuration came to be. */
export interface Provenance {
  /** What the program said. */
  readonly options: ConfigOptions;
  /** Where each value came from; what has none is a default. */
  readonly sources: ReadonlyMap<Key, Source>;
}

const provenances = new WeakMap<Config, Provenance>();

/** Remembers how a configuration came to be. */
export function setProvenance(config: Config, provenance: Provenance): void {
  provenances.set(config, provenance);
}

/** How a configuration came to be; undefined if nobody loaded it, or it is a copy. */
export function provenanceOf(config: Config): Provenance | undefined {
  return provenances.get(config);
}

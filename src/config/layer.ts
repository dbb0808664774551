/** Layers of the configuration (options, environment, file): checked values, each with its source. @module */
import type { Config, ConfigOptions, Key } from "./types.ts";
import { InvalidValueError } from "../errors.ts";
import type { Field } from "./field.ts";
import { fields, keys } from "./fields.ts";
import { displayName, displayValue } from "./display.ts";

/** Source of a value: an option, an environment variable, or a key of a file. */
export interface Source {
  /** Kind of the source. */
  readonly kind: "option" | "variable" | "key";
  /** Name of the option, variable or key. */
  readonly name: string;
  /** Path of the file, if the source is a key of a file. */
  readonly file?: string | undefined;
}

/** One value of a layer. */
export interface LayerValue {
  /** Value that has passed the schema of its field. */
  readonly value: unknown;
  /** Source, for `describeConfig` and for errors. */
  readonly source: Source;
}

/** Values that the options, the environment or a file set; a key that is absent was not set. */
export type ConfigLayer = ReadonlyMap<Key, LayerValue>;

/** The same fields with a common type, for code that treats all keys alike. */
export const fieldTable: Readonly<Record<Key, Field<unknown>>> = fields;

const inFile = ({ file }: Source) =>
  file === undefined ? "" : ` in ${displayName(file)}`;

/** Error for an invalid value; `value` must already be safe to display. */
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

/** Error for an unknown option, variable or key; its message lists the known names. */
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
 * Parses a value by the schema of its field. The text of a variable is converted first.
 *
 * @throws {InvalidValueError} the field does not allow the value.
 */
export function layerValue(
  key: Key,
  input: unknown,
  source: Source,
): LayerValue {
  const { schema, fromText, display, allowed, explainError } = fieldTable[key];
  const text = source.kind === "variable" ? fromText(String(input)) : input;
  // The messages of zod are not used: they have several sentences and could contain the value.
  const { success, data } = schema.safeParse(text);
  if (!success) {
    const reason = explainError?.(text);
    const detail = reason === undefined ? "" : ` (${reason})`;
    throw invalidValue(source, display(input), `${allowed}${detail}`);
  }
  return { value: data, source };
}

const TLS = "tls";
const isKey = (path: string): path is Key => Object.hasOwn(fields, path);

/** Yields the values of an object with their keys; those inside `tls` get keys such as `tls.ca`. */
function* entriesByPath(
  object: object,
  sourceOf: (path: string) => Source,
): Generator<[path: string, value: unknown]> {
  for (const [name, value] of Object.entries(object)) {
    if (name !== TLS) yield [name, value];
    else if (isRecord(value)) {
      for (const [part, inner] of Object.entries(value)) {
        yield [`${TLS}.${part}`, inner];
      }
    } else if (value !== undefined) {
      const tlsKeys = keys.filter((key) => key.startsWith(`${TLS}.`));
      throw invalidValue(
        sourceOf(TLS),
        displayValue(value),
        `an object: ${tlsKeys.join(", ")}`,
      );
    }
  }
}

/** True for an object that is no array. */
export function isRecord(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Builds the layer of an object: the options, or the JSON of the file. Members that are undefined count as not set.
 *
 * @throws {InvalidValueError} a value is not allowed, or its name is unknown.
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

/** Provenance of a configuration, with which it can be described and loaded again. */
export interface Provenance {
  /** Options of the `loadConfig` call. */
  readonly options: ConfigOptions;
  /** Source of each value; a key without a source has its default. */
  readonly sources: ReadonlyMap<Key, Source>;
}

const provenances = new WeakMap<Config, Provenance>();

/** Stores the provenance of a configuration without adding a member to it. */
export function setProvenance(config: Config, provenance: Provenance): void {
  provenances.set(config, provenance);
}

/** Returns the provenance of a configuration; undefined for a copy, and for an object that `loadConfig` did not return. */
export function provenanceOf(config: Config): Provenance | undefined {
  return provenances.get(config);
}

/**
 * Loads the configuration of a program from options, the environment, a file and defaults, in this order of precedence.
 * This is the only place of the library that reads the environment for its settings, and only when a program calls it.
 *
 * @module
 */
import { hideSecrets } from "./describe_config.ts";
import { fields, keys } from "./fields.ts";
import { fileLayer, readPem } from "./file_layer.ts";
import {
  type ConfigLayer,
  fieldTable,
  invalidValue,
  layerOf,
  type LayerValue,
  layerValue,
  setProvenance,
  type Source,
  unknownName,
} from "./layer.ts";
import { displayValue, redactUrls } from "./display.ts";
import { WORKER_VARIABLE } from "./worker_role.ts";
import type { Config, ConfigOptions, Flat, Key } from "./types.ts";

/** Environment variable with the path of the JSON file. */
const FILE_VARIABLE = "WARREN_CONFIG";
const knownVariables = [
  FILE_VARIABLE,
  ...keys.map((key) => fields[key].variable),
];

/** Variables that Kubernetes sets in every container if there is a Kubernetes service named `warren…`. */
const KUBERNETES_VARIABLE =
  /_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_[A-Z]+(_\w+)?)?$/;

/** Reads a variable; undefined if it is not set, empty, or may not be read. */
function readVariable(name: string): string | undefined {
  // The permission is queried first, because reading without it would prompt the user.
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  if (state !== "granted") return undefined;
  return Deno.env.get(name)?.trim() || undefined;
}

/**
 * Rejects misspelled `WARREN_…` variables. Does nothing without the permission to list all variables.
 *
 * @throws {InvalidValueError} a variable is unknown.
 */
function checkVariableNames(): void {
  const { state } = Deno.permissions.querySync({ name: "env" });
  if (state !== "granted") return;
  for (const name of Object.keys(Deno.env.toObject())) {
    if (!name.startsWith("WARREN_") || KUBERNETES_VARIABLE.test(name)) continue;
    if (knownVariables.includes(name) || name === WORKER_VARIABLE) continue;
    throw unknownName({ kind: "variable", name }, knownVariables);
  }
}

function environmentLayer(): ConfigLayer {
  checkVariableNames();
  const layer = new Map<Key, LayerValue>();
  for (const key of keys) {
    const name = fieldTable[key].variable;
    const text = readVariable(name);
    if (text === undefined) continue;
    layer.set(key, layerValue(key, text, { kind: "variable", name }));
  }
  return layer;
}

function optionLayer({ file: _, url, ...others }: ConfigOptions): ConfigLayer {
  const urls = url === undefined ? url : [url].flat().map(String);
  const sourceOf = (name: string): Source => ({ kind: "option", name });
  return layerOf({ ...others, url: urls }, sourceOf);
}

/** Reads the layer of the file that the option or the variable names; an empty layer if there is no such name. */
function namedFileLayer(option: unknown): ConfigLayer {
  const source: Source = option === undefined
    ? { kind: "variable", name: FILE_VARIABLE }
    : { kind: "option", name: "file" };
  const path = option ?? readVariable(FILE_VARIABLE);
  if (path === undefined) return new Map();
  if (typeof path === "string") return fileLayer(path, source);
  throw invalidValue(source, displayValue(path), "the path of a JSON file");
}

/** Keys whose value may be the path of a PEM file instead of PEM. */
const PEM_KEYS: readonly Key[] = ["tls.ca", "tls.cert", "tls.key"];

/** Returns the value of the layer with the highest precedence, else the default. */
function valueOf(key: Key, winner: LayerValue | undefined): unknown {
  if (!winner) return fieldTable[key].fallback;
  const { value, source } = winner;
  return PEM_KEYS.includes(key) ? readPem(String(value), source) : value;
}

/** Moves the keys `tls.…` into a nested object, and freezes all nested objects. */
function configOf(flat: Flat): Config {
  const {
    "tls.ca": ca,
    "tls.cert": cert,
    "tls.key": key,
    "tls.servername": servername,
    ...config
  } = flat;
  const tls = { ca, cert, key, servername };
  const hasTls = Object.values(tls).some((value) => value !== undefined);
  const url = Object.freeze([...config.url]);
  const cells = Object.freeze({ ...config.cells });
  const taskIntervals = Object.freeze({ ...config.taskIntervals });
  return {
    ...config,
    url,
    cells,
    taskIntervals,
    tls: hasTls ? Object.freeze(tls) : undefined,
  };
}

/**
 * Sets the URL of the process to that of its cell, if the cells are known.
 *
 * @throws {InvalidValueError} there is no such cell, or another URL is set as well.
 */
function urlOfCell(flat: Flat, sources: Map<Key, Source>): Flat {
  const { cells, cell, url } = flat;
  const names = Object.keys(cells);
  const source = sources.get("cell");
  if (cell === undefined || names.length === 0 || !source) return flat;
  const own = Object.hasOwn(cells, cell) ? cells[cell] : undefined;
  if (!own) {
    throw invalidValue(source, `"${cell}"`, `one of ${names.join(", ")}`);
  }
  const given = sources.get("url");
  const isSame = [...url].sort().join() === [...own].sort().join();
  if (given && !isSame) {
    const allowed = `the broker of the cell ${cell}, or leave it out`;
    throw invalidValue(given, redactUrls(url), allowed);
  }
  if (!given) sources.set("url", source);
  return { ...flat, url: own };
}

/**
 * Loads the configuration. A value is taken from `options`, or else from the environment, or else from the JSON file
 * that `WARREN_CONFIG` names, or else it is the default. {@linkcode Config} lists the variables; the keys of the file
 * are those of the options. A variable that is empty, or that the program has no permission to read, counts as not set;
 * there is no permission prompt.
 *
 * @throws {InvalidValueError} a value is not allowed or a name is unknown, even if another source overrides the value.
 * The message is one sentence without secrets.
 * @example
 * ```ts ignore
 * await using service = await Service.start({ ...loadConfig(), manager });
 * ```
 * @category Configuration
 */
export function loadConfig(options: ConfigOptions = {}): Config {
  const layers = [
    optionLayer(options),
    environmentLayer(),
    namedFileLayer(options.file),
  ];
  const sources = new Map<Key, Source>();
  const values = keys.map((key) => {
    const winner = layers.find((layer) => layer.has(key))?.get(key);
    if (winner) sources.set(key, winner.source);
    return [key, valueOf(key, winner)];
  });
  // The cast is safe: each value is a default or has passed the schema of its field.
  const flat = urlOfCell(Object.fromEntries(values) as Flat, sources);
  const config = hideSecrets(configOf(flat));
  setProvenance(config, { options: { ...options }, sources });
  return Object.freeze(config);
}

/**
 * The configuration of a program: options, then the environment, then a file, then defaults. The one place of the
 * library that reads the environment, and only when it is called.
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
import { displayValue } from "./display.ts";
import { WORKER_VARIABLE } from "./worker_role.ts";
import type { Config, ConfigOptions, Flat, Key } from "./types.ts";

/** Names the file. */
const FILE_VARIABLE = "WARREN_CONFIG";
const knownVariables = [
  FILE_VARIABLE,
  ...keys.map((key) => fields[key].variable),
];

/** What Kubernetes sets in every container beside a service named `warren…`. */
const KUBERNETES_VARIABLE =
  /_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_[A-Z]+(_\w+)?)?$/;

/** A variable of the environment; undefined if it is not set, empty, or not ours to read. */
function readVariable(name: string): string | undefined {
  // Asked first, since reading what is neither granted nor denied would prompt.
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  if (state !== "granted") return undefined;
  return Deno.env.get(name)?.trim() || undefined;
}

/** Refuses misspelled variables, where the names of all may be seen. */
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

/** The level of the file, if one is named. */
function namedFileLayer(option: unknown): ConfigLayer {
  const source: Source = option === undefined
    ? { kind: "variable", name: FILE_VARIABLE }
    : { kind: "option", name: "file" };
  const path = option ?? readVariable(FILE_VARIABLE);
  if (path === undefined) return new Map();
  if (typeof path === "string") return fileLayer(path, source);
  throw invalidValue(source, displayValue(path), "the path of a JSON file");
}

/** Where a value is PEM, what was given may be the path of its file. */
const PEM_KEYS: readonly Key[] = ["tls.ca", "tls.cert", "tls.key"];

function valueOf(key: Key, winner: LayerValue | undefined): unknown {
  if (!winner) return fieldTable[key].fallback;
  const { value, source } = winner;
  return PEM_KEYS.includes(key) ? readPem(String(value), source) : value;
}

/** Nests what has a path. */
function configOf(flat: Flat): Config {
  const {
    "tls.ca": ca,
    "tls.cert": cert,
    "tls.key": key,
    "tls.servername": servername,
    ...config
  } = flat;
  const tls = { ca, cert, key, servername };
  const given = Object.values(tls).some((value) => value !== undefined);
  const url = Object.freeze([...config.url]);
  const taskIntervals = Object.freeze({ ...config.taskIntervals });
  return {
    ...config,
    url,
    taskIntervals,
    tls: given ? Object.freeze(tls) : undefined,
  };
}

/**
 * The configuration: what the program says in `options`, else the environment, else the JSON file that `WARREN_CONFIG`
 * names, else the defaults. See {@linkcode Config} for the variables; the keys of the file are those of the options. An
 * empty variable counts as not set, and so does one that the program has no permission for: nobody is asked.
 *
 * @throws {InvalidValueError} a value is wrong or a name unknown, in one sentence without secrets: also where a higher
 * level has another value.
 * @example
 * ```ts ignore
 * await using service = await Service.start({ ...loadConfig(), manager });
 * ```
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
  // Each value has passed the schema of its field.
  const config = hideSecrets(configOf(Object.fromEntries(values) as Flat));
  setProvenance(config, { options: { ...options }, sources });
  return Object.freeze(config);
}

/**
 * The configuration of a program: options, then the environment, then a file, then defaults. The one place of the
 * library that reads the environment, and only when it is called.
 *
 * @module
 */
import { hideSecrets } from "./describe_config.ts";
import { fields, keys } from "./fields.ts";
import { fileLayer, pemOf } from "./file_layer.ts";
import {
  type ConfigLayer,
  invalidValue,
  layerOf,
  type LayerValue,
  layerValue,
  setProvenance,
  type Source,
  table,
  unknownName,
} from "./layer.ts";
import { displayValue } from "./display.ts";
import { WORKER } from "./worker_role.ts";
import type { Config, ConfigOptions, Flat, Key } from "./types.ts";

/** Names the file. */
const FILE = "WARREN_CONFIG";
const variables = [FILE, ...keys.map((key) => fields[key].variable)];

/** What Kubernetes sets in every container beside a service named `warren…`. */
const FOREIGN = /_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_[A-Z]+(_\w+)?)?$/;

/** A variable of the environment; undefined if it is not set, empty, or not ours to read. */
function variable(name: string): string | undefined {
  // Asked first, since reading what is neither granted nor denied would prompt.
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  if (state !== "granted") return undefined;
  return Deno.env.get(name)?.trim() || undefined;
}

/** Refuses misspelled variables, where the names of all may be seen. */
function checkVariables(): void {
  const { state } = Deno.permissions.querySync({ name: "env" });
  if (state !== "granted") return;
  for (const name of Object.keys(Deno.env.toObject())) {
    if (!name.startsWith("WARREN_") || FOREIGN.test(name)) continue;
    if (variables.includes(name) || name === WORKER) continue;
    throw unknownName({ kind: "variable", name }, variables);
  }
}

function environmentLayer(): ConfigLayer {
  checkVariables();
  const level = new Map<Key, LayerValue>();
  for (const key of keys) {
    const name = table[key].variable;
    const text = variable(name);
    if (text === undefined) continue;
    level.set(key, layerValue(key, text, { kind: "variable", name }));
  }
  return level;
}

function optionLayer({ file: _, url, ...others }: ConfigOptions): ConfigLayer {
  const urls = url === undefined ? url : [url].flat().map(String);
  const origin = (name: string): Source => ({ kind: "option", name });
  return layerOf({ ...others, url: urls }, origin);
}

/** The level of the file, if one is named. */
function namedFileLayer(option: unknown): ConfigLayer {
  const origin: Source = option === undefined
    ? { kind: "variable", name: FILE }
    : { kind: "option", name: "file" };
  const path = option ?? variable(FILE);
  if (path === undefined) return new Map();
  if (typeof path === "string") return fileLayer(path, origin);
  throw invalidValue(origin, displayValue(path), "the path of a JSON file");
}

/** Where a value is PEM, what was given may be the path of its file. */
const PEM: readonly Key[] = ["tls.ca", "tls.cert", "tls.key"];

function valueOf(key: Key, winner: LayerValue | undefined): unknown {
  if (!winner) return table[key].fallback;
  const { value, origin } = winner;
  return PEM.includes(key) ? pemOf(String(value), origin) : value;
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
  const levels = [
    optionLayer(options),
    environmentLayer(),
    namedFileLayer(options.file),
  ];
  const origins = new Map<Key, Source>();
  const values = keys.map((key) => {
    const winner = levels.find((level) => level.has(key))?.get(key);
    if (winner) origins.set(key, winner.origin);
    return [key, valueOf(key, winner)];
  });
  // Each value has passed the schema of its field.
  const config = hideSecrets(configOf(Object.fromEntries(values) as Flat));
  setProvenance(config, { options: { ...options }, origins });
  return Object.freeze(config);
}

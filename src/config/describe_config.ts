/** Prints a configuration as text, with its secrets redacted. @module */
import { oneLine } from "../logging.ts";
import { fieldTable, provenanceOf, type Source } from "./layer.ts";
import { keys } from "./fields.ts";
import { redactUrls } from "./display.ts";
import { redactCells } from "./cells_field.ts";
import type { Config, Key } from "./types.ts";

const MAX_LINE_CHARS = 1_000;

/** Reads the value of a key; a key with a dot belongs to a nested object. */
export function valueAt(config: Config, key: Key): unknown {
  let value: unknown = config;
  for (const part of key.split(".")) {
    value = Reflect.get(Object(value), part);
  }
  return value;
}

/** Formats the value of a key for display, on one line and without secrets. */
export function formatValue(config: Config, key: Key): string {
  return oneLine(fieldTable[key].format(valueAt(config, key)), MAX_LINE_CHARS);
}

/** Names the option, the variable or the file of a value. */
function displaySource(source: Source | undefined): string {
  if (!source) return "default";
  const { kind, name, file } = source;
  return file === undefined ? `${kind} ${name}` : `file ${oneLine(file)}`;
}

/**
 * Lists all values of a configuration, one on each line, with the source of each: option, variable, file or default.
 * Secrets are redacted. The sources of a copy of a configuration are unknown, and shown as `given`.
 *
 * @example
 * ```ts
 * import { describeConfig, loadConfig } from "@warren/runtime";
 *
 * const config = loadConfig({ url: "amqp://ada:secret@broker", concurrency: 8 });
 * console.log(describeConfig(config)); // url  amqp://ada:***@broker  option url …
 * ```
 * @category Configuration
 */
export function describeConfig(config: Config): string {
  const provenance = provenanceOf(config);
  const rows = keys.map((key): [string, string, string] => [
    key,
    formatValue(config, key),
    provenance ? displaySource(provenance.sources.get(key)) : "given",
  ]);
  const width = (column: 0 | 1) =>
    Math.max(...rows.map((row) => row[column].length));
  const [first, second] = [width(0), width(1)];
  return rows.map(([key, value, source]) =>
    `${key.padEnd(first)}  ${value.padEnd(second)}  ${source}`
  ).join("\n");
}

/** Makes `console.log`, loggers and `JSON.stringify` print a configuration without its secrets. Returns the same object. */
export function hideSecrets(config: Config): Config {
  const hidden = (value: unknown) => ({ value, enumerable: false });
  const { tls, ...rest } = config;
  return Object.defineProperties(config, {
    [Symbol.for("nodejs.util.inspect.custom")]: hidden(() =>
      describeConfig(config)
    ),
    toJSON: hidden(() => ({
      ...rest,
      url: redactUrls(config.url),
      cells: redactCells(config.cells),
      tls: tls && "(hidden)",
    })),
  });
}

/** Where the values of a configuration came from, kept beside it: it stays a plain record that can be spread. @module */
import type { Origin } from "./layer.ts";
import type { Config, ConfigOptions, Key } from "./types.ts";

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

/** Reloads a configuration on SIGHUP: applies live settings, and reports those that need a restart. @module */
import { InvalidValueError } from "../errors.ts";
import { checkNames, namesOf } from "../option_names.ts";
import { logger, oneLine } from "../logging.ts";
import { loadConfig } from "./load_config.ts";
import { formatValue, valueAt } from "./describe_config.ts";
import { keys } from "./fields.ts";
import { provenanceOf } from "./layer.ts";
import type { Config, Key, LogLevel } from "./types.ts";

/** Signal that reloads; none on Windows, where SIGHUP means that the console is closing. */
const RELOAD_SIGNAL: Deno.Signal | undefined = Deno.build.os === "windows"
  ? undefined
  : "SIGHUP";

/**
 * Result of a reload.
 * @category Configuration
 */
export interface ConfigReload {
  /** Configuration that was loaded. */
  readonly config: Config;
  /** Keys whose new values took effect. */
  readonly applied: readonly string[];
  /** Keys whose values differ from those that the program uses, and need a restart. */
  readonly restart: readonly string[];
}

/**
 * Service or connection whose settings a reload changes.
 * @category Configuration
 */
export interface Reloadable {
  /** Handlers that run at the same time. */
  concurrency: number;
  /** Replaces the intervals of periodic tasks. */
  setTaskIntervals?(intervals: Readonly<Record<string, number>>): void;
}

/**
 * Receivers of a reloaded configuration.
 * @category Configuration
 */
export interface WatchConfigOptions {
  /**
   * Services, to which new values of `concurrency` and `taskIntervals` are applied, and connections, to which new
   * values of `concurrency` are applied.
   */
  readonly services?: readonly Reloadable[] | undefined;
  /** Sets the log level of the program. */
  readonly logLevel?: ((level: LogLevel) => void) | undefined;
  /** Called after each successful reload. */
  readonly reloaded?: ((reload: ConfigReload) => void) | undefined;
}

const watchOptionNames = namesOf<WatchConfigOptions>({
  services: true,
  logLevel: true,
  reloaded: true,
});

/**
 * Reloads a configuration, on SIGHUP and on `reload()`, until disposed.
 * @category Configuration
 */
export interface ConfigWatcher extends Disposable {
  /** Configuration that was loaded last. */
  readonly config: Config;
  /** Reloads now, as SIGHUP does. Never throws: an invalid configuration is logged and changes nothing. */
  reload(): void;
}

/** Function that applies a key to the running program. A key without a function needs a restart. */
type LiveSettings = Partial<Record<Key, (next: Config) => void>>;

function liveSettings(
  { services, logLevel }: WatchConfigOptions,
): LiveSettings {
  const live: LiveSettings = {};
  if (logLevel) live.logLevel = (next) => logLevel(next.logLevel);
  if (services && services.length > 0) {
    live.concurrency = ({ concurrency }) => {
      for (const service of services) service.concurrency = concurrency;
    };
  }
  if (services?.some((each) => each.setTaskIntervals)) {
    live.taskIntervals = ({ taskIntervals }) => {
      for (const service of services) service.setTaskIntervals?.(taskIntervals);
    };
  }
  return live;
}

/**
 * Returns the value of a key as the program uses it, as text. A missing prefetch is the concurrency at the start of the
 * consumers.
 */
function effectiveValue(config: Config, key: Key): string {
  return key === "prefetch"
    ? String(config.prefetch ?? config.concurrency)
    : JSON.stringify(valueAt(config, key)) ?? "";
}

/**
 * Runs `work` and logs its error on one line, since a signal handler has no caller to throw to. Returns undefined after an
 * error.
 */
function logFailure<T>(failure: string, work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    const reason = error instanceof Error ? error.message : error;
    logger("service").error(`${failure}: {reason}`, {
      reason: oneLine(reason, 1_000),
    });
  }
}

class Watcher implements ConfigWatcher {
  #config: Config;
  readonly #options: WatchConfigOptions;
  readonly #live: LiveSettings;
  /** Values that the program uses now. */
  readonly #current: Map<Key, string>;
  readonly #onSignal = () => this.reload();

  constructor(config: Config, options: WatchConfigOptions) {
    this.#config = config;
    this.#options = options;
    this.#live = liveSettings(options);
    this.#current = new Map(
      keys.map((key) => [key, effectiveValue(config, key)]),
    );
    if (RELOAD_SIGNAL) Deno.addSignalListener(RELOAD_SIGNAL, this.#onSignal);
  }

  get config(): Config {
    return this.#config;
  }

  reload(): void {
    const reload = logFailure(
      "The configuration was not reloaded",
      () => this.#read(),
    );
    if (!reload) return;
    logFailure(
      "The listener for a reloaded configuration failed",
      () => this.#options.reloaded?.(reload),
    );
  }

  [Symbol.dispose](): void {
    if (RELOAD_SIGNAL) Deno.removeSignalListener(RELOAD_SIGNAL, this.#onSignal);
  }

  #read(): ConfigReload {
    const config = loadConfig(provenanceOf(this.#config)?.options);
    const changed = keys.filter((key) =>
      effectiveValue(config, key) !== this.#current.get(key)
    );
    const applied = changed.filter((key) => this.#apply(config, key));
    const restart = changed.filter((key) => !applied.includes(key));
    this.#config = config;
    const named = (list: readonly Key[]) =>
      list.map((key) => `${key} (${formatValue(config, key)})`).join(", ") ||
      "nothing";
    logger("service").info(
      "The configuration was reloaded; changed: {applied}; needs a restart: {restart}",
      { applied: named(applied), restart: named(restart) },
    );
    return { config, applied, restart };
  }

  /** Applies a key; returns false if it needs a restart. */
  #apply(config: Config, key: Key): boolean {
    const apply = this.#live[key];
    if (!apply) return false;
    apply(config);
    this.#current.set(key, effectiveValue(config, key));
    return true;
  }
}

/**
 * Reloads a configuration on SIGHUP, with the options of its `loadConfig` call. On Windows only `reload()` does it. The log
 * level, and `concurrency` and `taskIntervals` of services, take effect at once. All other changes need a restart; one line
 * of the log lists them. An invalid configuration is one line of the log and changes nothing.
 *
 * @throws {InvalidValueError} the configuration is a copy, whose options are not known.
 * @example
 * ```ts ignore
 * const config = loadConfig();
 * await using service = await Service.start({ ...config, manager });
 * using _watcher = watchConfig(config, { services: [service], logLevel: setLevel });
 * await service.stopped;
 * ```
 * @category Configuration
 */
export function watchConfig(
  config: Config,
  options: WatchConfigOptions = {},
): ConfigWatcher {
  checkNames(options, watchOptionNames);
  if (provenanceOf(config)) return new Watcher(config, options);
  throw new InvalidValueError(
    "Invalid config: give the object that loadConfig returned, not a copy of it",
    { data: { path: "config" } },
  );
}

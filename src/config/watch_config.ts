/** A configuration that is read again on SIGHUP: what can change live does, what cannot is named. @module */
import { InvalidValueError } from "../errors.ts";
import { checkNames, namesOf } from "../option_names.ts";
import { logger, oneLine } from "../logging.ts";
import { loadConfig } from "./load_config.ts";
import { formatValue, valueAt } from "./describe_config.ts";
import { keys } from "./fields.ts";
import { provenanceOf } from "./layer.ts";
import type { Config, Key, LogLevel } from "./types.ts";

/** None on Windows, where it means that the console is closing. */
const RELOAD_SIGNAL: Deno.Signal | undefined = Deno.build.os === "windows"
  ? undefined
  : "SIGHUP";

/** What came of reading it again. */
export interface ConfigReload {
  /** The configuration as it is now written. */
  readonly config: Config;
  /** Keys of what took effect. */
  readonly applied: readonly string[];
  /** Keys of what differs from what the program started with, and needs a restart. */
  readonly restart: readonly string[];
}

/** What follows a configuration: a service, or a connection. */
export interface Reloadable {
  /** Handlers at once. */
  concurrency: number;
  /** Spaces periodic tasks anew. */
  setTaskIntervals?(intervals: Readonly<Record<string, number>>): void;
}

/** Who follows the configuration. */
export interface WatchConfigOptions {
  /** Services, whose `concurrency` and `taskIntervals` follow, and connections, whose `concurrency` does. */
  readonly services?: readonly Reloadable[] | undefined;
  /** Sets the level of your log. */
  readonly logLevel?: ((level: LogLevel) => void) | undefined;
  /** Told of every time that it was read again and found right. */
  readonly reloaded?: ((reload: ConfigReload) => void) | undefined;
}

const watchOptionNames = namesOf<WatchConfigOptions>({
  services: true,
  logLevel: true,
  reloaded: true,
});

/** Reads a configuration again, on SIGHUP and when told to, until disposed. */
export interface ConfigWatcher extends Disposable {
  /** The configuration as it was last read. */
  readonly config: Config;
  /** Reads it again, as SIGHUP does. Never throws: what is wrong is logged, and changes nothing. */
  reload(): void;
}

/** What may change while the program runs: how, for each key; without that, it needs a restart. */
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

/** What the consumers of a service are started with: a prefetch that was not given is the concurrency of that time. */
function effectiveValue(config: Config, key: Key): string {
  return key === "prefetch"
    ? String(config.prefetch ?? config.concurrency)
    : JSON.stringify(valueAt(config, key)) ?? "";
}

/** Does it; what goes wrong is one line of the log, since a signal has no caller who could be told. */
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
  /** What the program runs with now, by key. */
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
      "The configuration stays as it is",
      () => this.#read(),
    );
    if (!reload) return;
    logFailure(
      "Whoever follows the configuration failed",
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
      "The configuration was read again; changed: {applied}; needs a restart: {restart}",
      { applied: named(applied), restart: named(restart) },
    );
    return { config, applied, restart };
  }

  /** True if it took effect. */
  #apply(config: Config, key: Key): boolean {
    const apply = this.#live[key];
    if (!apply) return false;
    apply(config);
    this.#current.set(key, effectiveValue(config, key));
    return true;
  }
}

/**
 * Reads a configuration again on SIGHUP (not on Windows, where `reload()` is left), with the same options: the
 * environment of a process rarely changes, its file does. The log level and the `concurrency` and `taskIntervals` of services follow at
 * once; whatever else changed is named in one line of the log, since it needs a restart. A configuration that became
 * wrong is one line of the log, and changes nothing.
 *
 * @throws {InvalidValueError} the configuration is a copy, so that nobody knows how it was made.
 * @example
 * ```ts ignore
 * const config = loadConfig();
 * await using service = await Service.start({ ...config, manager });
 * using _watcher = watchConfig(config, { services: [service], logLevel: setLevel });
 * await service.stopped;
 * ```
 */
export function watchConfig(
  config: Config,
  options: WatchConfigOptions = {},
): ConfigWatcher {
  checkNames(options, watchOptionNames);
  if (provenanceOf(config)) return new Watcher(config, options);
  throw new InvalidValueError(
    "Invalid config: give what loadConfig gave, not a copy of it",
    { data: { path: "config" } },
  );
}

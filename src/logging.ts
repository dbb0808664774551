/**
 * Logging through category `warren` of `@logtape/logtape`, as the application configures it. Until the application
 * configures a log, warnings and errors go to standard error.
 *
 * @module
 */
import {
  getConfig,
  getLogger,
  getTextFormatter,
  inspectLogger,
  type Logger,
  type LogLevel,
} from "npm:@logtape/logtape@^2.4.2";
import { LogThrottle } from "./log_throttle.ts";
import { isSecret, loggableError, logText, MASK } from "./redaction.ts";
import { loggedBytes } from "./text.ts";

export { oneLine } from "./text.ts";

/** Values of a line. Each replaces its name in braces in the text. */
export type Properties = Readonly<Record<string, unknown>>;

/**
 * Writes one line of at most 4 kB. Secrets in the properties are redacted, and control characters are escaped. Of the
 * lines with the same text and the same `throttleKey`, one a second is written, with the number of lines that it stands
 * for.
 */
export type LogMethod = (
  text: string,
  properties?: Properties,
  throttleKey?: string,
) => void;

/** Logger for one category of Warren. */
export interface Log {
  /** Logs details for debugging; these lines are not throttled. */
  readonly debug: LogMethod;
  /** Logs normal events. */
  readonly info: LogMethod;
  /** Logs events that may need attention. */
  readonly warn: LogMethod;
  /** Logs events that need attention. */
  readonly error: LogMethod;
  /** Logs events that end the process. */
  readonly fatal: LogMethod;
  /** Returns false if lines of this level are not written anywhere. */
  enabled(level: LogLevel): boolean;
}

/** Bytes of a line without its time and category, and of each text in it. */
const MAX_LINE_BYTES = 4_000;
const MAX_TEXT_BYTES = 1_000;

/** Redacts and shortens the properties, so that any formatter may print them. */
function formatProperties(
  properties: Properties,
  maxBytes: number,
): Properties {
  let remaining = maxBytes;
  const maxTextBytes = maxBytes === Infinity ? maxBytes : MAX_TEXT_BYTES;
  const entries = Object.entries(properties).map(([key, value]) => {
    const safe = isSecret(key)
      ? MASK
      : typeof value === "string"
      ? logText(value, Math.min(maxTextBytes, remaining))
      : loggableError(value, remaining);
    remaining -= loggedBytes(
      safe instanceof Error ? `${safe.stack}` : `${safe}`,
    );
    return [key, safe];
  });
  return Object.fromEntries(entries);
}

const throttle = new LogThrottle();
/** Configuration of LogTape for which the throttle has counted lines. */
let lastConfig: unknown = null;

const format = getTextFormatter({
  value: (value, inspect) =>
    value instanceof Error ? `${value.stack}` : inspect(value),
});

/** Prints a line to standard error, in LogTape's text format. */
function print(
  category: readonly string[],
  level: LogLevel,
  text: string,
  properties: Properties,
): void {
  const message = text.split(/\{(\w+)\}/)
    .map((part, at) => at % 2 === 0 ? part : properties[part]);
  const timestamp = Date.now();
  const record = { category, level, message, timestamp };
  console.error(format({ ...record, rawMessage: text, properties }).trimEnd());
}

class CategoryLogger implements Log {
  readonly #logger: Logger;
  /** True if lines are neither throttled nor shortened. This is for output that the application asked for. */
  readonly #unlimited: boolean;

  constructor(name: string, unlimited: boolean) {
    this.#logger = getLogger(["warren", name]);
    this.#unlimited = unlimited;
  }

  readonly debug: LogMethod = (text, properties) =>
    this.enabled("debug") ? this.#write("debug", text, properties) : undefined;
  readonly info: LogMethod = (...args) => this.#log("info", ...args);
  readonly warn: LogMethod = (...args) => this.#log("warning", ...args);
  readonly error: LogMethod = (...args) => this.#log("error", ...args);
  readonly fatal: LogMethod = (...args) => this.#log("fatal", ...args);

  enabled(level: LogLevel): boolean {
    return this.#logger.isEnabledFor(level);
  }

  #log(
    level: LogLevel,
    text: string,
    properties?: Properties,
    throttleKey?: string,
  ): void {
    if (!this.enabled(level) && !printsToStderr(this.#logger, level)) return;
    if (this.#unlimited) return this.#write(level, text, properties);
    if (lastConfig !== getConfig()) throttle.clear();
    lastConfig = getConfig();
    const kind = JSON.stringify([this.#logger.category, level, text]);
    throttle.submit(
      throttleKey === undefined ? kind : kind + throttleKey,
      kind,
      (times) => {
        if (times === 1) return this.#write(level, text, properties);
        const counted = `${text} ({times} times in a second)`;
        this.#write(level, counted, { ...properties, times });
      },
    );
  }

  #write(level: LogLevel, text: string, properties: Properties = {}): void {
    const maxBytes = this.#unlimited
      ? Infinity
      : MAX_LINE_BYTES - loggedBytes(text);
    const safe = formatProperties(properties, maxBytes);
    const { category } = this.#logger;
    if (printsToStderr(this.#logger, level)) print(category, level, text, safe);
    else this.#logger[level](text, safe);
  }
}

/** Writes all suppressed lines, before the process ends. */
export function flushLog(): void {
  throttle.flush(true);
}

const PRINTED: ReadonlySet<LogLevel> = new Set(["warning", "error", "fatal"]);

/** True if the application has configured no log, not even through another copy of LogTape. */
function printsToStderr(logger: Logger, level: LogLevel): boolean {
  return PRINTED.has(level) && getConfig() === null &&
    inspectLogger(logger).source === "unconfigured";
}

const loggers = new Map<string, Log>();

/**
 * Returns the logger of a category, e.g. `["warren", "rpc"]` for `logger("rpc")`. An `unlimited` logger neither
 * throttles nor shortens lines; it is for output that the application asked for.
 */
export function logger(name: string, unlimited = false): Log {
  const key = `${name} ${unlimited}`;
  const existing = loggers.get(key);
  if (existing) return existing;
  const created = new CategoryLogger(name, unlimited);
  loggers.set(key, created);
  return created;
}

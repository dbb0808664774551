/**
 * The log: category `warren` of `@logtape/logtape`, as the application configures it. Until it configures any, warnings and
 * errors go to standard error. @module
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
import { sizeOf } from "./text.ts";

export { oneLine } from "./text.ts";

/** Values of a line, each shown where the text has its name in braces. */
export type Properties = Readonly<Record<string, unknown>>;

/**
 * Writes one line. What strangers may have written in the properties is masked and escaped, and the line has 4 kB at most.
 * Of lines with the same text and the same `by`, one a second is written, with the number of those that it stands for.
 */
export type LogMethod = (
  text: string,
  properties?: Properties,
  by?: string,
) => void;

/** The log of one part. */
export interface Log {
  /** For whoever looks for a fault; each line is written. */
  readonly debug: LogMethod;
  /** For normal events. */
  readonly info: LogMethod;
  /** For events that may need somebody's care. */
  readonly warn: LogMethod;
  /** For events that need it. */
  readonly error: LogMethod;
  /** For events that end the process. */
  readonly fatal: LogMethod;
  /** False where nobody reads lines of this level. */
  enabled(level: LogLevel): boolean;
}

/** Bytes of a line without its time and category, and of a text in it. */
const MAX_LINE = 4_000;
const MAX_TEXT = 1_000;

/** Properties as any formatter may show them. */
function formatProperties(properties: Properties, room: number): Properties {
  let left = room;
  const most = room === Infinity ? room : MAX_TEXT;
  const entries = Object.entries(properties).map(([key, value]) => {
    const safe = isSecret(key)
      ? MASK
      : typeof value === "string"
      ? logText(value, Math.min(most, left))
      : loggableError(value, left);
    left -= sizeOf(safe instanceof Error ? `${safe.stack}` : `${safe}`);
    return [key, safe];
  });
  return Object.fromEntries(entries);
}

const flood = new LogThrottle();
/** The destination of lines that were held back. */
let audience: unknown = null;

const format = getTextFormatter({
  value: (value, inspect) =>
    value instanceof Error ? `${value.stack}` : inspect(value),
});

/** To standard error, in the form that LogTape gives to a text. */
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
  /** True: every line is written, whole. It is for a log that is itself the destination. */
  readonly #whole: boolean;

  constructor(name: string, whole: boolean) {
    this.#logger = getLogger(["warren", name]);
    this.#whole = whole;
  }

  readonly debug: LogMethod = (text, properties) =>
    this.enabled("debug") ? this.#write("debug", text, properties) : undefined;
  readonly info: LogMethod = (...said) => this.#say("info", ...said);
  readonly warn: LogMethod = (...said) => this.#say("warning", ...said);
  readonly error: LogMethod = (...said) => this.#say("error", ...said);
  readonly fatal: LogMethod = (...said) => this.#say("fatal", ...said);

  enabled(level: LogLevel): boolean {
    return this.#logger.isEnabledFor(level);
  }

  #say(
    level: LogLevel,
    text: string,
    properties?: Properties,
    by?: string,
  ): void {
    if (!this.enabled(level) && !prints(this.#logger, level)) return;
    if (this.#whole) return this.#write(level, text, properties);
    if (audience !== getConfig()) flood.clear();
    audience = getConfig();
    const kind = JSON.stringify([this.#logger.category, level, text]);
    flood.pass(by === undefined ? kind : kind + by, kind, (times) => {
      if (times === 1) return this.#write(level, text, properties);
      const counted = `${text} ({times} times in a second)`;
      this.#write(level, counted, { ...properties, times });
    });
  }

  #write(level: LogLevel, text: string, properties: Properties = {}): void {
    const room = this.#whole ? Infinity : MAX_LINE - sizeOf(text);
    const safe = formatProperties(properties, room);
    const { category } = this.#logger;
    if (prints(this.#logger, level)) print(category, level, text, safe);
    else this.#logger[level](text, safe);
  }
}

/** Writes what was held back, since the process may end. */
export function flushLog(): void {
  flood.flush(true);
}

const PRINTED: ReadonlySet<LogLevel> = new Set(["warning", "error", "fatal"]);

/** True where the application has configured no log, not even by another copy of LogTape. */
function prints(logger: Logger, level: LogLevel): boolean {
  return PRINTED.has(level) && getConfig() === null &&
    inspectLogger(logger).source === "unconfigured";
}

const parts = new Map<string, Log>();

/**
 * The log of one part, e.g. `log("bus")` is the category `["warren", "bus"]`. A `whole` one cuts nothing and writes every
 * line: for lines that are themselves what an application asked for.
 */
export function logger(part: string, whole = false): Log {
  const key = `${part} ${whole}`;
  const known = parts.get(key);
  if (known) return known;
  const made = new CategoryLogger(part, whole);
  parts.set(key, made);
  return made;
}

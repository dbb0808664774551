/** The log: silent until the application configures `@logtape/logtape`, category `warren`. @module */
import { getLogger, type Logger } from "npm:@logtape/logtape@^2.4.2";

/** The logger of one part, e.g. `log("bus")` is the category `["warren", "bus"]`. */
export function log(part: string): Logger {
  return getLogger(["warren", part]);
}

/** Whoever threw it may have thrown anything. */
function textOf(value: unknown): string {
  try {
    return String(value);
  } catch {
    return `something of type ${typeof value}`;
  }
}

/** Any value as one short line without control characters, for a log or an error's text. */
export function oneLine(value: unknown, limit = 200): string {
  const text = typeof value === "string" ? value : textOf(value);
  const line = JSON.stringify(text.slice(0, limit)).slice(1, -1)
    .replace(
      /[\u007f-\u009f\u2028\u2029]/g,
      (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
  return text.length > limit ? `${line}… (${text.length} characters)` : line;
}

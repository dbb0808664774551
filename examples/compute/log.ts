/** Configures LogTape, through which Warren and the managers of this example log, with one line for each record. @module */
import {
  configure,
  getConsoleSink,
  type LogLevel,
  type LogRecord,
} from "npm:@logtape/logtape@^2.4.2";

/** Formats a log record as one line. */
export type LineFormat = (record: LogRecord) => string;

const shown = (part: unknown) => {
  const text = part instanceof Error ? `${part.name}: ${part.message}` : part;
  return String(text).replaceAll(/\s*\n\s*/g, " / ");
};

/** Line with time, level and category, for a log. */
export const dated: LineFormat = ({ timestamp, level, category, message }) => {
  const at = new Date(timestamp).toISOString();
  const from = category.join(".");
  return `${at} ${level.padEnd(7)} ${from}: ${message.map(shown).join("")}`;
};

/** Puts the name of the speaker before a line, for several hosts on one screen. */
export const spoken = (who: string, line: string) =>
  `${who.padEnd(6)} │ ${line}`;

/** Line with the name of the host that logged it. */
export const byHost: LineFormat = (
  { properties: { host = "warren" }, message },
) => spoken(String(host), message.map(shown).join(""));

/** Sends the compute service's own log, and Warren's from `level` on, to the console. */
export async function logToConsole(
  format: LineFormat,
  level: LogLevel,
): Promise<void> {
  const sinks = ["console"];
  await configure({
    sinks: { console: getConsoleSink({ formatter: format }) },
    loggers: [
      { category: "warren", lowestLevel: level, sinks },
      { category: "compute", lowestLevel: "info", sinks },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks },
    ],
  });
}

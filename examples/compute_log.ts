/** Logs in one line each. Warren and its managers log through LogTape. Until a program says where to, warnings alone are printed. @module */
import {
  configure,
  getConsoleSink,
  type LogLevel,
  type LogRecord,
} from "npm:@logtape/logtape@^2.4.2";

/** How a record becomes a line. */
export type Form = (record: LogRecord) => string;

const shown = (part: unknown) => {
  const text = part instanceof Error ? `${part.name}: ${part.message}` : part;
  return String(text).replaceAll(/\s*\n\s*/g, " / ");
};

/** With time, level and category, for a log. */
export const dated: Form = ({ timestamp, level, category, message }) => {
  const at = new Date(timestamp).toISOString();
  const from = category.join(".");
  return `${at} ${level.padEnd(7)} ${from}: ${message.map(shown).join("")}`;
};

/** One column says who speaks, for many voices on one screen. */
export const spoken = (who: string, line: string) =>
  `${who.padEnd(6)} │ ${line}`;

/** With the host that says it. */
export const byHost: Form = ({ properties: { host = "warren" }, message }) =>
  spoken(String(host), message.map(shown).join(""));

/** Sends the compute service's own log, and Warren's from `level` on, to the console. */
export async function logToConsole(form: Form, level: LogLevel): Promise<void> {
  const sinks = ["console"];
  await configure({
    sinks: { console: getConsoleSink({ formatter: form }) },
    loggers: [
      { category: "warren", lowestLevel: level, sinks },
      { category: "compute", lowestLevel: "info", sinks },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks },
    ],
  });
}

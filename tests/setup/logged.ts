/** What Warren logs, for tests. */
import {
  configure,
  getTextFormatter,
  type LogRecord,
  reset,
} from "npm:@logtape/logtape@^2.4.2";
import { flushLog } from "../../src/logging.ts";

/** What was logged. */
export interface Logged extends AsyncDisposable {
  /** Each line as text. */
  readonly lines: string[];
  /** The same as LogTape has it. */
  readonly records: LogRecord[];
  /** How many lines match, with those for which others stand. */
  times(pattern: RegExp): number;
}

/** How many lines one stands for. */
function timesOf(line: string): number {
  const [, times = "1"] = /\((\d+) times in a second\)/.exec(line) ?? [];
  return Number(times);
}

/** Everything that Warren logs, as text, until disposed. */
export async function logged(): Promise<Logged> {
  const lines: string[] = [];
  const records: LogRecord[] = [];
  const text = getTextFormatter();
  await configure({
    sinks: {
      list: (record: LogRecord) => {
        lines.push(text(record));
        records.push(record);
      },
    },
    loggers: [
      { category: "warren", lowestLevel: "trace", sinks: ["list"] },
      { category: ["logtape", "meta"], lowestLevel: "error" },
    ],
    reset: true,
  });
  return {
    lines,
    records,
    times: (pattern) => {
      flushLog();
      const found = lines.filter((line) => pattern.test(line));
      return found.reduce((sum, line) => sum + timesOf(line), 0);
    },
    [Symbol.asyncDispose]: reset,
  };
}

/** What Warren logs, for tests. */
import {
  configure,
  getTextFormatter,
  type LogRecord,
  reset,
} from "npm:@logtape/logtape@^2.4.2";

/** Everything that Warren logs, as text, until disposed. */
export async function logged(): Promise<
  { readonly lines: string[] } & AsyncDisposable
> {
  const lines: string[] = [];
  const text = getTextFormatter();
  await configure({
    sinks: { list: (record: LogRecord) => void lines.push(text(record)) },
    loggers: [
      { category: "warren", lowestLevel: "trace", sinks: ["list"] },
      { category: ["logtape", "meta"], lowestLevel: "error" },
    ],
    reset: true,
  });
  return { lines, [Symbol.asyncDispose]: reset };
}

/** The proof as a table: one line a row. */
import type { RunSettings } from "./bench.ts";
import type { Report } from "./run.ts";

const COLUMNS = [
  ["row", 4],
  ["queue", 8],
  ["ledger", 9],
  ["resolved", 9],
  ["handled", 8],
  ["lost", 5],
  ["starts", 7],
  ["finished twice", 15],
  ["recorded twice", 15],
  ["in doubt", 9],
  ["hung", 5],
  ["stuck", 6],
  ["recovery ms", 12],
  ["RSS MiB", 8],
  ["lag ms", 7],
  ["verdict", 0],
] as const;

const line = (cells: readonly string[]) =>
  cells.map((cell, n) => cell.padEnd(COLUMNS[n]?.[1] ?? 0)).join(" ")
    .trimEnd();

/** The heads of the columns. */
export const header: string = line(COLUMNS.map(([name]) => name));

/** One row. */
export function lineOf(report: Report, settings: RunSettings): string {
  const { row } = report;
  const { queue, ledger } = settings;
  if ("cannot" in report) {
    return line([row.id, queue, ledger, `not run: ${report.cannot}`]);
  }
  const { result, breaches } = report;
  const removed = result.removed.length;
  return line([
    row.id,
    queue,
    ledger,
    `${result.resolved}`,
    `${result.handled}`,
    `${result.lost.length}`,
    `${result.starts}`,
    `${result.finishedTwice.length} of ${result.inHand}`,
    `${result.recordedTwice ?? "-"}`,
    `${result.inDoubt}`,
    `${result.hung.length}`,
    `${result.stuck.length}`,
    `${Math.round(result.recovery)}`,
    `${result.callerGrowth.toFixed()}/${result.workerGrowth.toFixed()}`,
    `${Math.round(result.lag)}`,
    breaches.length === 0
      ? `ok${removed ? `, ${removed} went with the queue` : ""}`
      : `FAILED ${breaches.join(". ")}`,
  ]);
}

/** What did not succeed, by verb and code; empty if all did. */
export function codesOf(report: Report): string {
  if ("cannot" in report) return "";
  return [...report.result.codes].map(([key, count]) => `${count} × ${key}`)
    .join(", ");
}

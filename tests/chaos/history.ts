/** What is told in a row: lines of JSON that its processes print, in the order in which the runner read them. */

/** Times are epoch milliseconds of the process that tells, by its monotonic clock. */
export type Told =
  /** It is at work. */
  | { readonly t: "ready" }
  /** A worker began or finished a run. */
  | {
    readonly t: "start" | "end";
    readonly id: string;
    readonly attempt: number;
    readonly at: number;
  }
  | Outcome
  /** An event loop was late by so many milliseconds. */
  | { readonly t: "lag"; readonly at: number; readonly ms: number }
  /** Bytes that a process holds. */
  | {
    readonly t: "rss";
    readonly at: number;
    readonly bytes: number;
    /** What its wall clock says. */
    readonly clock: number;
  }
  /** A connection's event. */
  | { readonly t: "event"; readonly at: number; readonly name: string }
  /** A line of Warren's log, warnings and worse. */
  | { readonly t: "log"; readonly text: string }
  /** The caller has no more to send; what never settled. */
  | { readonly t: "done"; readonly open: readonly string[] }
  /** What the machine cannot do. */
  | { readonly t: "cannot"; readonly why: string };

/** What a caller's verb came to. */
export interface Outcome {
  readonly t: "out";
  readonly verb: "cast" | "call" | "fanout" | "stream" | "burst";
  readonly id: string;
  /** When it was asked. */
  readonly at: number;
  /** When it settled. */
  readonly settled: number;
  /** When it had to settle. */
  readonly due: number;
  /** Code of what it threw; undefined = it resolved. */
  readonly code?: string;
  readonly inDoubt?: boolean;
  /** Whether it may be asked again when the broker is back. */
  readonly idempotent?: boolean;
  /** Milliseconds that it may wait for a worker. */
  readonly ttl?: number;
  /** What was wrong with what came. */
  readonly wrong?: string;
}

/** A line, who told it, and when the runner read it: what a process with a wrong clock tells has times of its own. */
export type Line = Told & { readonly from: string; readonly seen: number };

/** The time of this process, in epoch milliseconds that no clock change moves. */
export const now = (): number => performance.timeOrigin + performance.now();

const encoder = new TextEncoder();

/** Tells a line at once, so that a process killed in the next moment has told it. */
export function tell(line: Told): void {
  const bytes = encoder.encode(`${JSON.stringify(line)}\n`);
  for (let sent = 0; sent < bytes.length;) {
    sent += Deno.stdout.writeSync(bytes.subarray(sent));
  }
}

/** Tells memory, and how late the event loop is, until the process ends. */
export function tellHealth(): void {
  let last = performance.now();
  setInterval(() => {
    const ms = performance.now() - last - 20;
    last = performance.now();
    if (ms > 50) tell({ t: "lag", at: now(), ms });
  }, 20);
  setInterval(() => {
    const bytes = Deno.memoryUsage().rss;
    tell({ t: "rss", at: now(), bytes, clock: Date.now() });
  }, 500);
}

/** The runner's orders, line by line; the process ends at once when the runner is gone. */
export async function orders(obey: (order: string) => void): Promise<never> {
  let rest = "";
  for await (const chunk of Deno.stdin.readable) {
    const lines = (rest + new TextDecoder().decode(chunk)).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) obey(line);
  }
  Deno.exit(3);
}

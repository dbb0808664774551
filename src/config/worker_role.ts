/**
 * Role of this process: a worker of `launch`, or a program of its own. Also the signals that drain a process, and the two
 * texts by which a launcher and its workers talk to each other.
 *
 * @module
 */

/** Signals that ask a process to drain. */
export const DRAIN_SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM"];

/** Signals that a terminal sends to every process of a process group, so to the launcher and to its workers. */
const TERMINAL_SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGHUP"];

/** Environment variable that makes a program a worker; its value is the number of the worker. */
export const WORKER_VARIABLE = "WARREN_WORKER";

/**
 * Environment variable by which a launcher asks its workers for an address at which it can read their metrics. Its value is
 * random, and returns with the address, so that no line of a program's output can name another one.
 */
export const METRICS_VARIABLE = "WARREN_WORKER_METRICS";

let ownNumber: number | undefined;

/**
 * Makes this process worker number `worker` of a launcher. From now on it ignores the signals of the terminal, because
 * the launcher receives them as well, and controls its workers.
 */
export function becomeWorker(worker: number): void {
  if (ownNumber === undefined) {
    for (const signal of TERMINAL_SIGNALS) {
      Deno.addSignalListener(signal, () => {});
    }
  }
  ownNumber = worker;
}

/** Returns the number of this worker; undefined if this process is no worker of a launcher. */
export function workerNumber(): number | undefined {
  return ownNumber;
}

/** Calls `act` for each of the signals until disposed. */
export function onSignals(
  signals: readonly Deno.Signal[],
  act: (signal: Deno.Signal) => void,
): Disposable {
  const listeners = signals.map((signal) =>
    [signal, () => act(signal)] as const
  );
  for (const [signal, listener] of listeners) {
    Deno.addSignalListener(signal, listener);
  }
  return {
    [Symbol.dispose]: () => {
      for (const [signal, listener] of listeners) {
        Deno.removeSignalListener(signal, listener);
      }
    },
  };
}

const READY_BEGIN = "\u001b]warren:ready";
const READY_END = "\u001b\\";

/**
 * Returns the end of the line that a worker prints on its stdout when all its services have started, with a secret of its
 * launcher and the port of its metrics if the launcher has asked for them. The launcher removes it from the output. It is
 * an escape sequence of this name, which no program prints by chance.
 */
export const readyMarker = (
  metrics?: { readonly secret: string; readonly port: string },
): string =>
  metrics
    ? `${READY_BEGIN} ${metrics.secret} ${metrics.port}${READY_END}`
    : `${READY_BEGIN}${READY_END}`;

/** Line of a worker that is ready. */
export interface ReadyLine {
  /** Output of the program before the marker. */
  readonly output: string;
  /** Port of the worker's metrics; undefined if the line does not have the secret. */
  readonly metricsPort: number | undefined;
}

/** Reads a line of a worker; returns undefined if it has no ready marker. */
export function parseReady(
  line: string,
  secret: string | undefined,
): ReadyLine | undefined {
  const at = line.lastIndexOf(READY_BEGIN);
  if (at < 0 || !line.endsWith(READY_END)) return undefined;
  const inner = line.slice(at + READY_BEGIN.length, -READY_END.length);
  const [, returned, port = ""] = inner.split(" ");
  const isOwn = secret !== undefined && returned === secret &&
    /^\d{1,5}$/.test(port);
  return {
    output: line.slice(0, at),
    metricsPort: isOwn ? Number(port) : undefined,
  };
}

/**
 * Line that the launcher writes to the stdin of a worker to drain it. The end of stdin means that the launcher has died.
 */
export const DRAIN_COMMAND = "drain\n";

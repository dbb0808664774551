/** Signals that end a process, and who acts on them: each service, or the launcher of a worker process. @module */

/** What asks a process to drain. */
export const DRAIN_SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM"];

/** What a terminal sends to every process of a group, workers and launcher alike. */
const TERMINAL_SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGHUP"];

/** The environment variable that makes a program a worker; its value is the worker's number. */
export const WORKER_VARIABLE = "WARREN_WORKER";

let ownNumber: number | undefined;

/**
 * From now on this process is a launcher's worker, and deaf to the signals of a group: its launcher gets them as well, and
 * alone decides.
 */
export function becomeWorker(worker: number): void {
  if (ownNumber === undefined) {
    for (const signal of TERMINAL_SIGNALS) {
      Deno.addSignalListener(signal, () => {});
    }
  }
  ownNumber = worker;
}

/** The number of this process among the workers of its launcher; undefined if nobody launched it. */
export function workerNumber(): number | undefined {
  return ownNumber;
}

/** Listens until disposed. */
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

/** Ends the line on a worker's stdout that says: all services have started. No program prints this by chance. */
export const READY_MARKER = "\u001b]warren:ready\u001b\\";

/** The line on a worker's stdin that asks it to drain. The end of its stdin says that the launcher is gone. */
export const DRAIN_COMMAND = "drain\n";

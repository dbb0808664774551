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

/**
 * End of the line that a worker prints on its stdout when all its services have started. The launcher removes it from the
 * output. It is an escape sequence of this name, which no program prints by chance.
 */
export const READY_MARKER = "\u001b]warren:ready\u001b\\";

/**
 * Line that the launcher writes to the stdin of a worker to drain it. The end of stdin means that the launcher has died.
 */
export const DRAIN_COMMAND = "drain\n";

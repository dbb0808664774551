/** Launcher process: runs no service, and supervises its workers (Nova: `ProcessLauncher`). @module */
import { logger } from "../../logging.ts";
import { type HealthPort, HealthServer } from "../health/health_server.ts";
import { LOOPBACK } from "../../names.ts";
import { DRAIN_SIGNALS, onSignals } from "../../config/worker_role.ts";
import { workerMetrics } from "./worker_metrics.ts";
import { WorkerSlot } from "./worker_slot.ts";
import { LineWriter } from "./line_output.ts";

/** Exit codes of a launcher that a second signal ends at once. */
const EXIT_CODES: Partial<Record<Deno.Signal, number>> = {
  SIGINT: 130,
  SIGTERM: 143,
};

/** Signals that replace all workers. */
const REPLACE_SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? []
  : ["SIGHUP"];

/** Keeps `workers` processes running until a signal. Resolves when all have drained and ended. */
export async function supervise(
  workers: number,
  args: readonly string[],
  health: HealthPort,
): Promise<void> {
  const stdout = new LineWriter(Deno.stdout);
  const stderr = new LineWriter(Deno.stderr);
  const metrics = health.port !== undefined;
  const program = { args, metrics, stdout, stderr };
  const slots = Array.from(
    { length: workers },
    (_, index) => new WorkerSlot(index + 1, program),
  );
  await using _health = startHealthServer(slots, health);
  using _end = onSignals(DRAIN_SIGNALS, drainOnSignal(slots));
  using _restart = onSignals(REPLACE_SIGNALS, replaceOnSignal(slots));
  const ended: Promise<void>[] = [];
  try {
    for (const slot of slots) ended.push(slot.start());
  } catch (error) {
    for (const slot of slots) slot.kill();
    throw error;
  } finally {
    await Promise.all(ended);
  }
}

/** Starts the health server of the launcher if it has a port. The launcher is ready when each worker serves. */
function startHealthServer(
  slots: readonly WorkerSlot[],
  { port, hostname = LOOPBACK }: HealthPort,
): HealthServer | undefined {
  if (port === undefined) return undefined;
  const check = () => {
    const serving = slots.filter((slot) => slot.serving).length;
    const detail = { workers: slots.length, serving };
    return { live: true, ready: serving === slots.length, detail };
  };
  const metrics = () => workerMetrics(slots);
  return HealthServer.start({ port, hostname }, { check, metrics });
}

/** Creates the handler of signals: the first signal drains the workers, the second kills them and ends this process. */
function drainOnSignal(
  slots: readonly WorkerSlot[],
): (signal: Deno.Signal) => void {
  let draining = false;
  return (signal) => {
    if (draining) {
      for (const slot of slots) slot.kill();
      Deno.exit(EXIT_CODES[signal]);
    }
    draining = true;
    logger("service").info("Draining the workers after {signal}", { signal });
    for (const slot of slots) slot.stop();
  };
}

/**
 * Creates the handler of SIGHUP, which replaces one worker after the other. Workers that pause before a restart start at
 * once. A signal during a replacement starts one more afterwards, because the program may have changed again; further
 * signals until then are merged into it.
 */
function replaceOnSignal(slots: readonly WorkerSlot[]): () => void {
  let last: Promise<void> = Promise.resolve();
  let waiting = false;
  const all = async () => {
    waiting = false;
    logger("service").info(
      "Replacing the workers one after the other after SIGHUP",
    );
    for (const slot of slots) await slot.replace();
  };
  return () => {
    for (const slot of slots) slot.skipPause();
    if (waiting) return;
    waiting = true;
    last = last.then(all);
  };
}

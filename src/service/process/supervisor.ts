/** The launcher's process: it serves nothing itself, and answers for its workers (Nova: `ProcessLauncher`). @module */
import { logger } from "../../logging.ts";
import { type HealthPort, HealthServer } from "../health/health_server.ts";
import { LOOPBACK } from "../../names.ts";
import { DRAIN_SIGNALS, onSignals } from "../../config/worker_role.ts";
import { WorkerSlot } from "./worker_slot.ts";
import { LineWriter } from "./line_output.ts";

/** Exit codes of a process that a signal ended at once. */
const EXIT_CODES: Partial<Record<Deno.Signal, number>> = {
  SIGINT: 130,
  SIGTERM: 143,
};

/** Replaces all workers. */
const REPLACE_SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? []
  : ["SIGHUP"];

/** Keeps as many workers until a signal; resolves when all have drained and ended. */
export async function supervise(
  workers: number,
  args: readonly string[],
  health: HealthPort,
): Promise<void> {
  const stdout = new LineWriter(Deno.stdout);
  const stderr = new LineWriter(Deno.stderr);
  const slots = Array.from(
    { length: workers },
    (_, index) => new WorkerSlot(index + 1, { args, stdout, stderr }),
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

/** Answers for all workers, if there is a port: it is ready when each of them serves. */
function startHealthServer(
  slots: readonly WorkerSlot[],
  { port, hostname = LOOPBACK }: HealthPort,
): HealthServer | undefined {
  if (port === undefined) return undefined;
  return HealthServer.start({ port, hostname }, () => {
    const serving = slots.filter((slot) => slot.serving).length;
    const detail = { workers: slots.length, serving };
    return { live: true, ready: serving === slots.length, detail };
  });
}

/** The first signal drains the workers, a second one ends them and this process at once. */
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
    logger("service").info("{signal}: the workers drain", { signal });
    for (const slot of slots) slot.stop();
  };
}

/** Replaces one worker after the other; those that wait for their next start do not wait any longer. What is asked for meanwhile is done after that: the program may have changed again. */
function replaceOnSignal(slots: readonly WorkerSlot[]): () => void {
  let last: Promise<void> = Promise.resolve();
  let waiting = false;
  const all = async () => {
    waiting = false;
    logger("service").info("SIGHUP: the workers are replaced, one by one");
    for (const slot of slots) await slot.replace();
  };
  return () => {
    for (const slot of slots) slot.skipPause();
    if (waiting) return;
    waiting = true;
    last = last.then(all);
  };
}

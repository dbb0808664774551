/** Periodic tasks of managers: they never overlap with themselves, and one that fails comes again (Nova: `periodic_tasks`). @module */
import { duration } from "../rpc/options.ts";
import { log } from "../telemetry.ts";

/** Something that a manager does again and again. */
export interface PeriodicTask {
  /** Milliseconds between the end of one run and the start of the next; the first run comes after as many. */
  readonly every: number;
  /** The work. `signal` fires when the service stops. */
  run(signal: AbortSignal): void | Promise<void>;
}

/** Runs tasks until disposed; disposal waits for those that are running. */
export class PeriodicTasks implements AsyncDisposable {
  readonly #stop = new AbortController();
  readonly #loops: Promise<void>[];

  /** Starts them. */
  constructor(tasks: readonly PeriodicTask[]) {
    for (const task of tasks) duration("every", task.every);
    this.#loops = tasks.map((task) => this.#loop(task));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#loops);
  }

  async #loop(task: PeriodicTask): Promise<void> {
    const { signal } = this.#stop;
    while (await elapsed(task.every, signal)) {
      try {
        await task.run(signal);
      } catch (error) {
        log("service").error("A periodic task failed: {error}", { error });
      }
    }
  }
}

/** True after `ms`, false as soon as the signal fires. */
function elapsed(ms: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(false);
  return new Promise((resolve) => {
    const stopped = () => (clearTimeout(timer), resolve(false));
    const timer = setTimeout(
      () => (signal.removeEventListener("abort", stopped), resolve(true)),
      ms,
    );
    signal.addEventListener("abort", stopped, { once: true });
  });
}

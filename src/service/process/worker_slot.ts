/** Slot of a worker: restarts its process when it ends, and replaces it on request. @module */
import { clearDeadline, setDeadline } from "../../async/timer_wheel.ts";
import { logger } from "../../logging.ts";
import { type Program, WorkerProcess } from "./worker_process.ts";

/** Milliseconds between two starts of one worker after its first failure. Each further failure doubles this interval. */
const MIN_START_INTERVAL_MS = 1_000;
/** Maximum milliseconds between two starts of one worker. */
const MAX_START_INTERVAL_MS = 30_000;
/** Milliseconds of service after which the end of a process counts as a first failure again. */
const HEALTHY_AFTER_MS = 60_000;

/** Keeps one worker running, from `start` to `stop`. */
export class WorkerSlot {
  /** Number of the worker. */
  readonly worker: number;
  readonly #program: Program;
  /** Processes that have not ended: the one that serves, its successor, and those that drain. */
  readonly #processes = new Set<WorkerProcess>();
  /** Process that was started last; undefined if the last start failed. */
  #last: WorkerProcess | undefined;
  /** Time of the last start, in milliseconds of `performance.now()`. */
  #startedAt = 0;
  /** Minimum milliseconds from the last start to the next. */
  #startInterval = MIN_START_INTERVAL_MS;
  /** Ends the pause before the next start. */
  #endPause: (() => void) | undefined;
  /** Resolves when something has changed that the loop waits for; a new promise follows each time. */
  #changed = Promise.withResolvers<void>();
  /** Present while a replacement is requested; resolves when the old process has ended. */
  #replacing: PromiseWithResolvers<void> | undefined;
  #stopped = false;

  /** Creates the slot of worker number `worker`, without a process. */
  constructor(worker: number, program: Program) {
    this.worker = worker;
    this.#program = program;
  }

  /** URL of the metrics of the process that serves; undefined while none does, and if it has none. */
  get metricsUrl(): string | undefined {
    return [...this.#processes].find(({ serving }) => serving)?.metricsUrl;
  }

  /** True while a process of the worker serves. */
  get serving(): boolean {
    return [...this.#processes].some(({ serving }) => serving);
  }

  /** Starts the worker. Throws the error of Deno if that fails. Resolves when the worker was stopped and has ended. */
  start(): Promise<void> {
    this.#startedAt = performance.now();
    return this.#run(this.#spawn());
  }

  /**
   * Starts a successor, and drains the old process when the successor is ready. Resolves when the old process has ended.
   */
  replace(): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    this.skipPause();
    this.#replacing ??= Promise.withResolvers();
    this.#notifyChange();
    return this.#replacing.promise;
  }

  /** Resets the count of failures and ends a pause: the next process starts at once. */
  skipPause(): void {
    this.#startInterval = 0;
    this.#endPause?.();
  }

  /** Drains the worker; it is not restarted. */
  stop(): void {
    this.#stopped = true;
    this.#replacing?.resolve();
    this.#endPause?.();
    this.#notifyChange();
    for (const process of this.#processes) process.drain();
  }

  /** Kills the processes of the worker; it is not restarted. */
  kill(): void {
    this.stop();
    for (const process of this.#processes) process.kill();
  }

  /** Restarts or replaces the process until the worker is stopped. */
  async #run(current: WorkerProcess): Promise<void> {
    while (!this.#stopped) {
      if (current.alive && !this.#replacing) {
        await this.#changed.promise;
        continue;
      }
      const next = await this.#startNext();
      if (!next) continue;
      if (!this.#replacing) current = next;
      else if (await next.ready) current = this.#handOver(current, next);
    }
    await Promise.all(Array.from(this.#processes, ({ ended }) => ended));
  }

  /**
   * Drains the old process and returns the new one. The end of the old process is not awaited here, so that the new one is
   * supervised meanwhile.
   */
  #handOver(old: WorkerProcess, next: WorkerProcess): WorkerProcess {
    const { worker } = this;
    logger("service").info(
      "Worker {worker} is replaced",
      { worker },
      `${worker}`,
    );
    const replacing = this.#replacing;
    old.drain();
    old.ended.then(() => replacing?.resolve());
    this.#replacing = undefined;
    return next;
  }

  /** Starts a process when it is due. Returns undefined if the start failed, or if the worker was stopped meanwhile. */
  async #startNext(): Promise<WorkerProcess | undefined> {
    await this.#waitUntilDue();
    this.#last = undefined;
    this.#startedAt = performance.now();
    this.#startInterval = Math.min(
      MAX_START_INTERVAL_MS,
      2 * this.#startInterval || MIN_START_INTERVAL_MS,
    );
    if (this.#stopped) return undefined;
    try {
      return this.#spawn();
    } catch (error) {
      // The machine may lack processes or memory for a while, so the loop tries again.
      const { worker } = this;
      logger("service").error("Worker {worker} cannot be started: {error}", {
        worker,
        error,
      }, `${worker}`);
      return undefined;
    }
  }

  /** Waits until the interval since the last start is over. */
  async #waitUntilDue(): Promise<void> {
    const { worker } = this;
    if (this.#last && this.#last.servedMs >= HEALTHY_AFTER_MS) {
      this.#startInterval = 0;
    }
    const due = this.#startedAt + this.#startInterval;
    const ms = Math.round(due - performance.now());
    if (ms <= 0) return;
    const text = "Worker {worker} is restarted in {ms} ms";
    logger("service").info(text, { worker, ms }, `${worker}`);
    await this.#pauseUntil(due);
  }

  /** Waits until a time of `performance.now()`, or until the pause is ended early. */
  #pauseUntil(until: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setDeadline(until, resolve);
    this.#endPause = () => (clearDeadline(timer), resolve());
    return promise;
  }

  #spawn(): WorkerProcess {
    const process = new WorkerProcess(this.worker, this.#program);
    this.#last = process;
    this.#processes.add(process);
    process.exited.then(() => this.#notifyChange());
    process.ended.then((status) => this.#onEnded(process, status));
    return process;
  }

  /** Logs the end of a process. */
  #onEnded(
    process: WorkerProcess,
    { code, signal, success }: Deno.CommandStatus,
  ): void {
    const { worker } = this;
    const { pid, draining, lastError } = process;
    this.#processes.delete(process);
    const how = signal ?? `code ${code}`;
    // A killed process had no time to print its error.
    const reason = success || signal === "SIGKILL" ? undefined : lastError;
    const text = "Worker {worker} (process {pid}) ended: {how}";
    logger("service")[draining ? "info" : "warn"](
      reason === undefined ? text : `${text}; its last error: {reason}`,
      { worker, pid, how, ...(reason !== undefined && { reason }) },
      `${worker}`,
    );
  }

  /** Wakes the loop. */
  #notifyChange(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** A worker's place: whatever happens to its process, another takes over. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import { logger } from "../../logging.ts";
import { type Program, WorkerProcess } from "./worker_process.ts";

/** Milliseconds between two starts for one place: after the first failure, and at most. Each further failure doubles them. */
const MIN_START_INTERVAL_MS = 1_000;
const MAX_START_INTERVAL_MS = 30_000;
/** Milliseconds that a process serves before its end is a first failure again. */
const HEALTHY_AFTER_MS = 60_000;

/** Keeps one worker running. */
export class WorkerSlot {
  /** Number of the worker. */
  readonly worker: number;
  readonly #program: Program;
  /** All that have not ended yet: the one that serves, one that is to follow it, those that drain. */
  readonly #processes = new Set<WorkerProcess>();
  /** The process that was started last; undefined if none could be. */
  #last: WorkerProcess | undefined;
  /** Time of the last start, in milliseconds of `performance.now()`. */
  #startedAt = 0;
  /** Milliseconds from the last start to the next, at least. */
  #startInterval = MIN_START_INTERVAL_MS;
  #pause: { readonly wait: Timer; readonly over: () => void } | undefined;
  #changed = Promise.withResolvers<void>();
  #replacing: PromiseWithResolvers<void> | undefined;
  #stopped = false;

  /** Of worker number `worker`. */
  constructor(worker: number, program: Program) {
    this.worker = worker;
    this.#program = program;
  }

  /** Whether a process of it serves. */
  get serving(): boolean {
    return [...this.#processes].some(({ serving }) => serving);
  }

  /** Starts the worker; throws what Deno throws if it cannot. Resolves when it has been stopped and has ended. */
  start(): Promise<void> {
    this.#startedAt = performance.now();
    return this.#run(this.#spawn());
  }

  /** Starts another process, and drains the old one when the new one is ready; resolves when the old one has ended. */
  replace(): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    this.skipPause();
    this.#replacing ??= Promise.withResolvers();
    this.#notifyChange();
    return this.#replacing.promise;
  }

  /** Forgets failures: the next process starts without a pause, which may be under way. */
  skipPause(): void {
    this.#startInterval = 0;
    this.#pause?.over();
  }

  /** Drains the worker for good. */
  stop(): void {
    this.#stopped = true;
    this.#replacing?.resolve();
    this.#pause?.over();
    this.#notifyChange();
    for (const child of this.#processes) child.drain();
  }

  /** Ends the worker's processes at once, for good. */
  kill(): void {
    this.stop();
    for (const child of this.#processes) child.kill();
  }

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

  /** Whoever waits for the old one to be gone does not keep this place from looking after the new one. */
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

  /** Another process, when it is due; undefined if none could be started or none is wanted any more. */
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
      // The machine may be short of processes or memory for a while.
      const { worker } = this;
      logger("service").error("Worker {worker} cannot be started: {error}", {
        worker,
        error,
      }, `${worker}`);
      return undefined;
    }
  }

  async #waitUntilDue(): Promise<void> {
    const { worker } = this;
    if (this.#last && this.#last.servedMs >= HEALTHY_AFTER_MS) {
      this.#startInterval = 0;
    }
    const due = this.#startedAt + this.#startInterval;
    const ms = Math.round(due - performance.now());
    if (ms <= 0) return;
    const text = "Worker {worker} starts again in {ms} ms";
    logger("service").info(text, { worker, ms }, `${worker}`);
    await this.#pauseUntil(due);
  }

  #pauseUntil(until: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wait = setDeadline(until, resolve);
    this.#pause = { wait, over: () => (clearDeadline(wait), resolve()) };
    return promise;
  }

  #spawn(): WorkerProcess {
    const child = new WorkerProcess(this.worker, this.#program);
    this.#last = child;
    this.#processes.add(child);
    child.exited.then(() => this.#notifyChange());
    child.ended.then((status) => this.#onEnded(child, status));
    return child;
  }

  #onEnded(
    child: WorkerProcess,
    { code, signal, success }: Deno.CommandStatus,
  ): void {
    const { worker } = this;
    const { pid, draining, lastError } = child;
    this.#processes.delete(child);
    const how = signal ?? `code ${code}`;
    // One that was killed had no time to say why.
    const reason = success || signal === "SIGKILL" ? undefined : lastError;
    const text = "Worker {worker} (process {pid}) ended: {how}";
    logger("service")[draining ? "info" : "warn"](
      reason === undefined ? text : `${text}; its last error: {reason}`,
      { worker, pid, how, ...(reason !== undefined && { reason }) },
      `${worker}`,
    );
  }

  #notifyChange(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

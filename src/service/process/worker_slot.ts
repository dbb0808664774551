/** A worker's place: whatever happens to its process, another takes over. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import { logger } from "../../logging.ts";
import { type Program, WorkerProcess } from "./worker_process.ts";

/** Milliseconds between two starts for one place: after the first failure, and at most. Each further failure doubles them. */
const SPACING = 1_000;
const LONGEST = 30_000;
/** Milliseconds that a process serves before its end is a first failure again. */
const HEALTHY = 60_000;

/** Keeps one worker running. */
export class WorkerSlot {
  /** Number of the worker. */
  readonly worker: number;
  readonly #program: Program;
  /** All that have not ended yet: the one that serves, one that is to follow it, those that drain. */
  readonly #children = new Set<WorkerProcess>();
  /** The process that was started last; undefined if none could be. */
  #last: WorkerProcess | undefined;
  /** Time of the last start, in milliseconds of `performance.now()`. */
  #started = 0;
  /** Milliseconds from the last start to the next, at least. */
  #spacing = SPACING;
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
    return [...this.#children].some(({ serving }) => serving);
  }

  /** Starts the worker; throws what Deno throws if it cannot. Resolves when it has been stopped and has ended. */
  start(): Promise<void> {
    this.#started = performance.now();
    return this.#keep(this.#spawn());
  }

  /** Starts another process, and drains the old one when the new one is ready; resolves when the old one has ended. */
  replace(): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    this.hurry();
    this.#replacing ??= Promise.withResolvers();
    this.#tell();
    return this.#replacing.promise;
  }

  /** Forgets failures: the next process starts without a pause, which may be under way. */
  hurry(): void {
    this.#spacing = 0;
    this.#pause?.over();
  }

  /** Drains the worker for good. */
  stop(): void {
    this.#stopped = true;
    this.#replacing?.resolve();
    this.#pause?.over();
    this.#tell();
    for (const child of this.#children) child.drain();
  }

  /** Ends the worker's processes at once, for good. */
  kill(): void {
    this.stop();
    for (const child of this.#children) child.kill();
  }

  async #keep(current: WorkerProcess): Promise<void> {
    while (!this.#stopped) {
      if (current.alive && !this.#replacing) {
        await this.#changed.promise;
        continue;
      }
      const next = await this.#fork();
      if (!next) continue;
      if (!this.#replacing) current = next;
      else if (await next.ready) current = this.#follow(current, next);
    }
    await Promise.all(Array.from(this.#children, ({ ended }) => ended));
  }

  /** Whoever waits for the old one to be gone does not keep this place from looking after the new one. */
  #follow(old: WorkerProcess, next: WorkerProcess): WorkerProcess {
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
  async #fork(): Promise<WorkerProcess | undefined> {
    await this.#due();
    this.#last = undefined;
    this.#started = performance.now();
    this.#spacing = Math.min(LONGEST, 2 * this.#spacing || SPACING);
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

  async #due(): Promise<void> {
    const { worker } = this;
    if (this.#last && this.#last.served >= HEALTHY) this.#spacing = 0;
    const due = this.#started + this.#spacing;
    const ms = Math.round(due - performance.now());
    if (ms <= 0) return;
    const text = "Worker {worker} starts again in {ms} ms";
    logger("service").info(text, { worker, ms }, `${worker}`);
    await this.#paused(due);
  }

  #paused(until: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wait = setDeadline(until, resolve);
    this.#pause = { wait, over: () => (clearDeadline(wait), resolve()) };
    return promise;
  }

  #spawn(): WorkerProcess {
    const child = new WorkerProcess(this.worker, this.#program);
    this.#last = child;
    this.#children.add(child);
    child.exited.then(() => this.#tell());
    child.ended.then((status) => this.#gone(child, status));
    return child;
  }

  #gone(
    child: WorkerProcess,
    { code, signal, success }: Deno.CommandStatus,
  ): void {
    const { worker } = this;
    const { pid, draining, lastError } = child;
    this.#children.delete(child);
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

  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

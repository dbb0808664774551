/** One periodic task: when it runs, and what came of it. @module */
import { checkDuration } from "../../option_checks.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import type { TaskInfo } from "../../rpc/discovery/service_report.ts";
import { logger } from "../../logging.ts";
import { type Clock, monotonicClock } from "./clock.ts";

/** What the last run came to. */
interface LastRun {
  readonly lastRun: number;
  readonly duration: number;
  readonly lastError: unknown;
}

/** Runs one task again and again, never twice at once. */
export class TaskRunner {
  readonly #task: PeriodicTask;
  readonly #name: string;
  readonly #clock: Clock;
  /** Fires when this member leads no more; undefined while it does not lead. */
  readonly #leading: (() => AbortSignal | undefined) | undefined;
  #every: number;
  /** What the next run is counted from: the start of the last one, or of the loop; undefined if that has a delay of its own. */
  #from: number | undefined;
  /** Fires when the next run is at another time than was waited for. */
  #moved = new AbortController();
  #runs = 0;
  #failures = 0;
  #running = false;
  #next: number | undefined;
  #last: LastRun | undefined;

  /** Of a task; `leading` tells whether this member of the fleet may run it. */
  constructor(
    task: PeriodicTask,
    name: string,
    clock: Clock = monotonicClock,
    leading?: () => AbortSignal | undefined,
  ) {
    this.#task = task;
    this.#every = task.every;
    this.#name = name;
    this.#clock = clock;
    this.#leading = leading;
  }

  /** What it has done, and will do. */
  get state(): TaskState {
    const wait = this.#next === undefined
      ? undefined
      : Math.max(0, this.#next - this.#clock.now());
    return {
      name: this.#name,
      runs: this.#runs,
      failures: this.#failures,
      running: this.#running,
      nextRun: wait === undefined ? undefined : Date.now() + wait,
      ...this.#last,
    };
  }

  /** Milliseconds from run to run: holds from now on, for the next run too, unless that is the first, with a delay of its own. */
  set every(every: number) {
    this.#every = every;
    if (this.#next === undefined || this.#from === undefined) return;
    this.#next = this.#from + every + this.#jitter();
    this.#moved.abort();
    this.#moved = new AbortController();
  }

  /** Runs it until the signal fires; resolves when the last run has ended. */
  async loop(stop: AbortSignal): Promise<void> {
    const { initialDelay } = this.#task;
    const now = this.#clock.now();
    if (initialDelay === undefined) this.#from = now;
    this.#next = now + (initialDelay ?? this.#every) + this.#jitter();
    while (await this.#due(stop)) {
      this.#from = this.#clock.now();
      await this.#turn(stop);
      const due = this.#from + this.#every + this.#jitter();
      this.#next = Math.max(due, this.#clock.now()); // what was missed is not caught up
    }
    this.#next = undefined;
  }

  /** True when the next run is due, false as soon as it is to stop. */
  async #due(stop: AbortSignal): Promise<boolean> {
    for (;;) {
      const moved = this.#moved.signal;
      const wait = Math.max(0, (this.#next ?? 0) - this.#clock.now());
      const either = AbortSignal.any([stop, moved]);
      if (await this.#clock.sleep(wait, either)) return true;
      if (stop.aborted) return false;
    }
  }

  /** Runs it once; throws what it throws. */
  async runOnce(signal: AbortSignal): Promise<void> {
    const started = this.#clock.now();
    const lastRun = Date.now();
    let lastError: unknown;
    this.#running = true;
    try {
      await this.#task.run(signal);
    } catch (error) {
      lastError = error;
      this.#failures++;
      throw error;
    } finally {
      this.#running = false;
      this.#runs++;
      const duration = this.#clock.now() - started;
      this.#last = { lastRun, duration, lastError };
    }
  }

  /** A run that fails is logged, and the task goes on. */
  async #turn(stop: AbortSignal): Promise<void> {
    const led = this.#leading?.();
    if (this.#leading && !led) return;
    try {
      await this.runOnce(led ? AbortSignal.any([stop, led]) : stop);
    } catch (error) {
      const name = this.#name;
      const text = "Periodic {name} failed: {error}";
      logger("service").error(text, { name, error }, name);
    }
  }

  #jitter(): number {
    return Math.random() * (this.#task.jitter ?? 0);
  }
}

/** Something that a manager does again and again. */
export interface PeriodicTask {
  /** For the log and for `service.tasks`; default: its position in the list. */
  readonly name?: string | undefined;
  /** Milliseconds from the start of one run to the start of the next; a run that takes longer delays the next. */
  readonly every: number;
  /** Milliseconds until the first run; default `every`, 0 = at once. */
  readonly initialDelay?: number | undefined;
  /** Up to so many milliseconds more before each run, at random, so that a fleet does not act as one; default 0. */
  readonly jitter?: number | undefined;
  /** Only the leader among the services of the topic runs it. A hint, not a lock: see the README. */
  readonly leader?: boolean | undefined;
  /** The work. `signal` fires when the service stops, or is no longer the leader. */
  run(signal: AbortSignal): void | Promise<void>;
}

const taskNames = namesOf<PeriodicTask>({
  name: true,
  every: true,
  initialDelay: true,
  jitter: true,
  leader: true,
  run: true,
});

/** What a periodic task has done, and will do. Times are epoch milliseconds of this machine's clock. */
export interface TaskState extends Omit<TaskInfo, "lastError"> {
  /** What the last run threw; undefined if it went well. */
  readonly lastError?: unknown;
}

/**
 * Checks the times of a task.
 *
 * @throws {InvalidValueError} naming what is no duration in milliseconds, or no part of a task.
 */
export function checkTask(task: PeriodicTask): void {
  checkNames(task, taskNames, "periodic.");
  checkDuration("every", task.every);
  if (task.initialDelay) checkDuration("initialDelay", task.initialDelay);
  if (task.jitter) checkDuration("jitter", task.jitter);
}

/** The name of a task in a list. */
export function taskName({ name }: PeriodicTask, position: number): string {
  return name ?? `task-${position + 1}`;
}

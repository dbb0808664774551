/** Runs one periodic task at its interval, and keeps the result of its last run. @module */
import type { TaskInfo } from "../../rpc/discovery/service_report.ts";
import { logger } from "../../logging.ts";
import { type Clock, monotonicClock } from "./clock.ts";

/**
 * Work that a manager repeats at an interval.
 * @category Serving
 */
export interface PeriodicTask {
  /** Name in the log and in `service.tasks`; default: `task-` and the position of the task in the list. */
  readonly name?: string | undefined;
  /** Milliseconds from the start of one run to the start of the next; a run that takes longer delays the next. */
  readonly every: number;
  /** Milliseconds until the first run; default: `every`; 0 = at once. */
  readonly initialDelay?: number | undefined;
  /** Maximum random delay in milliseconds before each run, so that many services do not act at once; default 0. */
  readonly jitter?: number | undefined;
  /**
   * True to run the task only on the leader among the services of the topic. This is a hint and no lock: see the README.
   */
  readonly leader?: boolean | undefined;
  /** The work. `signal` fires when the service stops, or when it is no longer the leader. */
  run(signal: AbortSignal): void | Promise<void>;
}

/**
 * State of a periodic task. Times are milliseconds since 1970 by the clock of this machine.
 * @category Serving
 */
export interface TaskState extends Omit<TaskInfo, "lastError"> {
  /** Value that the last run threw; undefined if the run succeeded. */
  readonly lastError?: unknown;
}

/** Returns the name of a task at a position of a list, counted from 0. */
export function taskName({ name }: PeriodicTask, position: number): string {
  return name ?? `task-${position + 1}`;
}

/** Result of the last run. */
interface LastRun {
  readonly lastRun: number;
  readonly duration: number;
  readonly lastError: unknown;
}

/** Counts the runs of one task, and keeps the result of the last run. */
class TaskHistory {
  readonly #clock: Clock;
  #runs = 0;
  #failures = 0;
  #running = false;
  #last: LastRun | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Counters and the result of the last run. */
  get state(): Omit<TaskState, "name" | "nextRun"> {
    return {
      runs: this.#runs,
      failures: this.#failures,
      running: this.#running,
      ...this.#last,
    };
  }

  /** Runs the work and records its result. Throws the error of the work. */
  async record(work: () => void | Promise<void>): Promise<void> {
    const startedAt = this.#clock.now();
    const lastRun = Date.now();
    let lastError: unknown;
    this.#running = true;
    try {
      await work();
    } catch (error) {
      lastError = error;
      this.#failures++;
      throw error;
    } finally {
      this.#running = false;
      this.#runs++;
      const duration = this.#clock.now() - startedAt;
      this.#last = { lastRun, duration, lastError };
    }
  }
}

/** Runs one task repeatedly. Runs of the same task never overlap. */
export class TaskRunner {
  readonly #task: PeriodicTask;
  readonly #name: string;
  readonly #clock: Clock;
  readonly #history: TaskHistory;
  /** Returns a signal that fires when this service is no longer the leader; undefined while it is not the leader. */
  readonly #leading: (() => AbortSignal | undefined) | undefined;
  #every: number;
  /**
   * Time from which the interval to the next run is counted: the start of the last run, or of the loop. Undefined before a
   * first run that has an `initialDelay`.
   */
  #countedFrom: number | undefined;
  /** Time of the next run; undefined while the loop does not run. */
  #next: number | undefined;
  /** Run out of turn that is under way. */
  #extra: Promise<void> | undefined;
  /** Wakes the loop when the time of the next run has changed. */
  #rescheduled = new AbortController();

  /** Creates a runner. With `leading`, the task runs only while that function returns a signal. */
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
    this.#history = new TaskHistory(clock);
    this.#leading = leading;
  }

  /** State of the task: its last run and its next one. */
  get state(): TaskState {
    const wait = this.#next === undefined
      ? undefined
      : Math.max(0, this.#next - this.#clock.now());
    return {
      name: this.#name,
      nextRun: wait === undefined ? undefined : Date.now() + wait,
      ...this.#history.state,
    };
  }

  /** Time of the next run, or at which the current one was due, in milliseconds since 1970. */
  get due(): number {
    const now = this.#clock.now();
    return Date.now() + (this.#next ?? now) - now;
  }

  /**
   * Sets the milliseconds from run to run. The next run moves as well, unless it is the first one and has an
   * `initialDelay`.
   */
  set every(every: number) {
    this.#every = every;
    if (this.#next === undefined || this.#countedFrom === undefined) return;
    this.#next = this.#countedFrom + every + this.#jitter();
    this.#rescheduled.abort();
    this.#rescheduled = new AbortController();
  }

  /** Repeats the task until the signal fires. Resolves when the last run has ended. */
  async loop(stop: AbortSignal): Promise<void> {
    const { initialDelay } = this.#task;
    const now = this.#clock.now();
    if (initialDelay === undefined) this.#countedFrom = now;
    this.#next = now + (initialDelay ?? this.#every) + this.#jitter();
    while (await this.#isDue(stop)) {
      this.#countedFrom = this.#clock.now();
      await this.#runIfLeader(stop);
      const due = this.#countedFrom + this.#every + this.#jitter();
      // Runs that were missed while this one took longer than the interval are skipped.
      this.#next = Math.max(due, this.#clock.now());
    }
    this.#next = undefined;
    await this.#extra?.catch(() => {});
  }

  /** `ready` if the task can run out of turn; else why it cannot: it runs already, or another service is its leader. */
  get readiness(): "ready" | "running" | "notLeading" {
    if (this.#history.state.running) return "running";
    return this.#leading && !this.#leading() ? "notLeading" : "ready";
  }

  /** Runs a task that is `ready` now, out of turn. Throws the error of the task. */
  runNow(stop: AbortSignal): Promise<void> {
    const leading = this.#leading?.();
    const signal = leading ? AbortSignal.any([stop, leading]) : stop;
    return this.#extra = this.runOnce(signal);
  }

  /** Runs the task once. Throws the error of the task. */
  runOnce(signal: AbortSignal): Promise<void> {
    return this.#history.record(() => this.#task.run(signal));
  }

  /** Waits for the next run: resolves to true when it is due, and to false as soon as `stop` fires. */
  async #isDue(stop: AbortSignal): Promise<boolean> {
    for (;;) {
      const rescheduled = this.#rescheduled.signal;
      const wait = Math.max(0, (this.#next ?? 0) - this.#clock.now());
      const either = AbortSignal.any([stop, rescheduled]);
      if (await this.#clock.sleep(wait, either)) return true;
      if (stop.aborted) return false;
    }
  }

  /** Runs the task, unless another service is the leader. An error is logged, and the loop continues. */
  async #runIfLeader(stop: AbortSignal): Promise<void> {
    const leading = this.#leading?.();
    if (this.readiness !== "ready") return; // it may run out of turn
    try {
      await this.runOnce(leading ? AbortSignal.any([stop, leading]) : stop);
    } catch (error) {
      const name = this.#name;
      const text = "Periodic task {name} failed: {error}";
      logger("service").error(text, { name, error }, name);
    }
  }

  #jitter(): number {
    return Math.random() * (this.#task.jitter ?? 0);
  }
}

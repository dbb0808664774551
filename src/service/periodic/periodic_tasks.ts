/** The periodic tasks of a manager while its service runs. @module */
import { checkDuration } from "../../option_checks.ts";
import type { Clock } from "./clock.ts";
import { bestEffort } from "../../async/deadline.ts";
import {
  checkTask,
  type PeriodicTask,
  taskName,
  TaskRunner,
  type TaskState,
} from "./task_runner.ts";

/** What periodic tasks run by. */
export interface PeriodicOptions {
  /** Time; default the process's own. */
  readonly clock?: Clock | undefined;
  /** Milliseconds in place of a task's `every`, by its name. */
  readonly taskIntervals?: Readonly<Record<string, number>> | undefined;
  /** Stands for election to run a task; tells how it goes. */
  readonly lead?: ((name: string) => Election) | undefined;
}

/** Whether this member of the fleet leads. */
export interface Election extends AsyncDisposable {
  /** Fires when it leads no more; undefined while it does not lead. */
  readonly leading: AbortSignal | undefined;
}

/** Runs tasks until disposed; disposal tells those that are running, and waits for them. */
export class PeriodicTasks implements AsyncDisposable {
  readonly #stop = new AbortController();
  readonly #tasks: readonly PeriodicTask[];
  readonly #runners: readonly TaskRunner[];
  readonly #elections: Election[] = [];
  readonly #loops: readonly Promise<void>[];

  /**
   * Starts them.
   *
   * @throws {InvalidValueError} a time is no duration in milliseconds.
   */
  constructor(tasks: readonly PeriodicTask[], options: PeriodicOptions = {}) {
    tasks.forEach(checkTask);
    this.#tasks = tasks;
    this.#runners = tasks.map((task, at) => this.#runner(task, at, options));
    if (options.taskIntervals) this.setTaskIntervals(options.taskIntervals);
    this.#loops = this.#runners.map((runner) => runner.loop(this.#stop.signal));
  }

  /** What each of them has done, and will do. */
  get states(): readonly TaskState[] {
    return this.#runners.map(({ state }) => state);
  }

  /** Names of them. */
  get names(): readonly string[] {
    return this.#tasks.map(taskName);
  }

  /**
   * Spaces tasks anew, by their names; those that are not named go back to their own `every`.
   *
   * @throws {InvalidValueError} it is no duration in milliseconds.
   */
  setTaskIntervals(intervals: Readonly<Record<string, number>>): void {
    for (const [name, every] of Object.entries(intervals)) {
      if (every !== undefined) checkDuration(`taskIntervals.${name}`, every);
    }
    for (const [at, task] of this.#tasks.entries()) {
      const { [taskName(task, at)]: every = task.every } = intervals;
      const runner = this.#runners[at];
      if (runner) runner.every = every;
    }
  }

  /** Tells those that are running, and starts no other. */
  stop(): void {
    this.#stop.abort();
  }

  /** Resolves when all have ended, at `deadline` (milliseconds of `performance.now()`) at the latest. */
  async ended(deadline: number): Promise<void> {
    const all = Promise.all([
      ...this.#loops,
      ...this.#elections.map((each) => each[Symbol.asyncDispose]()),
    ]);
    await bestEffort(
      "A periodic task that ignores its signal",
      () => all,
      deadline,
    );
  }

  /** Stops them, and waits for those that are running. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    await this.ended(Infinity);
  }

  #runner(
    task: PeriodicTask,
    at: number,
    options: PeriodicOptions,
  ): TaskRunner {
    const name = taskName(task, at);
    if (!task.leader || !options.lead) {
      return new TaskRunner(task, name, options.clock);
    }
    const election = options.lead(name);
    this.#elections.push(election);
    return new TaskRunner(task, name, options.clock, () => election.leading);
  }
}

/** Periodic tasks of a manager while its service runs. @module */
import { checkDuration } from "../../option_checks.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import type { Clock } from "./clock.ts";
import { bestEffort } from "../../async/deadline.ts";
import type { AroundRun } from "./task_interceptors.ts";
import {
  type PeriodicTask,
  taskName,
  TaskRunner,
  type TaskState,
} from "./task_runner.ts";

/** Options of periodic tasks. */
export interface PeriodicOptions {
  /** Clock; default: the clock of the process. */
  readonly clock?: Clock | undefined;
  /** Milliseconds that replace `every` of a task, by the name of the task. */
  readonly taskIntervals?: Readonly<Record<string, number>> | undefined;
  /** Enters the election of the leader that runs a task, by the name of the task. */
  readonly lead?: ((name: string) => Election) | undefined;
  /** Function around each run of a task. */
  readonly around?: AroundRun | undefined;
}

/** Candidacy of this service in an election; disposal ends it. */
export interface Election extends AsyncDisposable {
  /** Signal that fires when this service is no longer the leader; undefined while it is not the leader. */
  readonly leading: AbortSignal | undefined;
}

const taskKeys = namesOf<PeriodicTask>({
  name: true,
  every: true,
  initialDelay: true,
  jitter: true,
  leader: true,
  run: true,
});

/**
 * Checks the times of a task and the names of its members.
 *
 * @throws {InvalidValueError} a time is no duration in milliseconds, or a member is unknown.
 */
function checkTask(task: PeriodicTask): void {
  checkNames(task, taskKeys, "periodic.");
  checkDuration("every", task.every);
  if (task.initialDelay) checkDuration("initialDelay", task.initialDelay);
  if (task.jitter) checkDuration("jitter", task.jitter);
}

/** Runs tasks until disposed. Disposal aborts the signals of active runs and waits for their end. */
export class PeriodicTasks implements AsyncDisposable {
  readonly #stop = new AbortController();
  readonly #tasks: readonly PeriodicTask[];
  readonly #runners: readonly TaskRunner[];
  readonly #elections: Election[] = [];
  readonly #loops: readonly Promise<void>[];

  /**
   * Starts the tasks.
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

  /** State of each task: its last run and its next one. */
  get states(): readonly TaskState[] {
    return this.#runners.map(({ state }) => state);
  }

  /** Names of the tasks. */
  get names(): readonly string[] {
    return this.#tasks.map(taskName);
  }

  /**
   * Replaces the intervals of tasks, by the names of the tasks. A task that is not named uses its own `every` again.
   *
   * @throws {InvalidValueError} an interval is no duration in milliseconds.
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

  /** State of a task for a run out of turn; undefined if there is no task of that name. */
  readiness(name: string): TaskRunner["readiness"] | undefined {
    return this.#named(name)?.readiness;
  }

  /** Runs a task that is `ready` now. Rejects with the error of the task. */
  async runNow(name: string): Promise<void> {
    await this.#named(name)?.runNow(this.#stop.signal);
  }

  #named(name: string): TaskRunner | undefined {
    return this.#runners[this.names.indexOf(name)];
  }

  /** Aborts the signals of active runs, and starts no further run. */
  stop(): void {
    this.#stop.abort();
  }

  /** Resolves when all runs have ended, at `deadline` (milliseconds of `performance.now()`) at the latest. */
  async ended(deadline: number): Promise<void> {
    const all = Promise.all([
      ...this.#loops,
      ...this.#elections.map((each) => each[Symbol.asyncDispose]()),
    ]);
    await bestEffort(
      "Waiting for the end of periodic tasks",
      () => all,
      deadline,
    );
  }

  /** Stops the tasks and waits until all runs have ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.stop();
    await this.ended(Infinity);
  }

  #runner(
    task: PeriodicTask,
    at: number,
    { clock, lead, around }: PeriodicOptions,
  ): TaskRunner {
    const name = taskName(task, at);
    const election = task.leader ? lead?.(name) : undefined;
    if (election) this.#elections.push(election);
    const leading = election && (() => election.leading);
    const { every, initialDelay, jitter, leader = false } = task;
    const intercepted = around && {
      ...{ every, initialDelay, jitter, leader },
      run: (signal: AbortSignal): Promise<void> => {
        const facts = { task: name, leader, due: runner.due, signal };
        return around(facts, () => task.run(signal));
      },
    };
    const repeated = intercepted ?? task;
    const runner: TaskRunner = new TaskRunner(repeated, name, clock, leading);
    return runner;
  }
}

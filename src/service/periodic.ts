/** The periodic tasks of a manager while its service runs. @module */
import { TimeoutError } from "../errors.ts";
import { log } from "../telemetry.ts";
import { within } from "../wait.ts";
import type { Clock } from "./clock.ts";
import {
  checkTask,
  nameOf,
  type PeriodicTask,
  type TaskState,
} from "./periodic_task.ts";
import { TaskRunner } from "./task_runner.ts";

/** What periodic tasks run by. */
export interface PeriodicOptions {
  /** Time; default the process's own. */
  readonly clock?: Clock | undefined;
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
    this.#runners = tasks.map((task, at) => this.#runner(task, at, options));
    this.#loops = this.#runners.map((runner) => runner.loop(this.#stop.signal));
  }

  /** What each of them has done, and will do. */
  get states(): readonly TaskState[] {
    return this.#runners.map(({ state }) => state);
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
    const late = () => new TimeoutError("A periodic task ignores its signal");
    await within(all, { deadline }, late).catch(({ message: reason }) =>
      log("service").error("{reason}: it is left behind", { reason })
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
    const name = nameOf(task, at);
    if (!task.leader || !options.lead) {
      return new TaskRunner(task, name, options.clock);
    }
    const election = options.lead(name);
    this.#elections.push(election);
    return new TaskRunner(task, name, options.clock, () => election.leading);
  }
}

/** Periodic tasks as data (Nova: `manager.py`, `periodic_task`). @module */
import { duration } from "../../option_checks.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import type { TaskInfo } from "../../rpc/discovery/service_report.ts";

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
  duration("every", task.every);
  if (task.initialDelay) duration("initialDelay", task.initialDelay);
  if (task.jitter) duration("jitter", task.jitter);
}

/** The name of a task in a list. */
export function nameOf({ name }: PeriodicTask, position: number): string {
  return name ?? `task-${position + 1}`;
}

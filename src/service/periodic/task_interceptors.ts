/** Functions around the runs of periodic tasks: audit, transactions, maintenance. @module */
import { InvalidValueError } from "../../errors.ts";

/**
 * Run of a periodic task, as an interceptor sees it.
 * @category Serving
 */
export interface TaskRun {
  /** Topic of the manager. */
  readonly topic: string;
  /** Host of the service. */
  readonly host: string;
  /** Name of the task, as in `service.tasks`. */
  readonly task: string;
  /** True if only the leader among the services of the topic runs the task. */
  readonly leader: boolean;
  /** Time at which the run was due, in milliseconds since 1970 by the clock of this machine. */
  readonly due: number;
  /** Fires when the service stops, or when it is no longer the leader. */
  readonly signal: AbortSignal;
}

/**
 * Function around each run of the periodic tasks of a service. It may do something before and after `next`, skip the run by
 * not calling `next`, or throw, which counts as a failure of the task. `next` calls the next interceptor, or the task after
 * the last one; it rejects with the error of the task. A run lasts until the task has ended, also if no interceptor waits
 * for it.
 * @category Serving
 */
export type TaskInterceptor = (
  run: TaskRun,
  next: () => Promise<void>,
) => unknown;

/** Work of a task. */
type Work = () => void | Promise<void>;

/** Function around each run: it gets the facts of the run, and the work. */
export type AroundRun = (
  run: Omit<TaskRun, "topic" | "host">,
  work: Work,
) => Promise<void>;

/** Makes one function of the interceptors of a topic on a host; undefined if there are none. */
export function aroundRuns(
  interceptors: readonly TaskInterceptor[] | undefined,
  place: Pick<TaskRun, "topic" | "host">,
): AroundRun | undefined {
  if (!interceptors || interceptors.length === 0) return undefined;
  const all = [...interceptors];
  return (run, work) =>
    runIntercepted(all, Object.freeze({ ...place, ...run }), new OneRun(work));
}

async function runIntercepted(
  interceptors: readonly TaskInterceptor[],
  facts: TaskRun,
  run: OneRun,
): Promise<void> {
  const proceed = async (at: number): Promise<void> => {
    const interceptor = interceptors[at];
    if (!interceptor) return await run.start();
    await interceptor(facts, () => {
      const result = proceed(at + 1);
      result.catch(() => {}); // the interceptor may await something else first
      return result;
    });
  };
  try {
    await proceed(0);
  } catch (error) {
    await run.end().catch(() => {});
    throw error;
  }
  await run.end();
}

/** Work of one run of a task, which never overlaps with itself. */
class OneRun {
  readonly #work: Work;
  /** Work that has not ended. */
  #active: Promise<void> | undefined;
  #ended = false;

  constructor(work: Work) {
    this.#work = work;
  }

  /**
   * Does the work, again if an interceptor calls `next` again.
   *
   * @throws {InvalidValueError} the work goes on, or the run is over.
   */
  async start(): Promise<void> {
    if (this.#active || this.#ended) {
      const reason = this.#ended ? "the run is over" : "the task still runs";
      throw new InvalidValueError(
        `Cannot call next of a periodic task: ${reason}; await its promise in the interceptor`,
      );
    }
    const active = (async () => await this.#work())();
    this.#active = active;
    try {
      await active;
    } finally {
      this.#active = undefined;
    }
  }

  /** Waits for work that no interceptor waited for; rejects if it fails. No work starts any more. */
  async end(): Promise<void> {
    this.#ended = true;
    await this.#active;
  }
}

/** Operations by which an operator sees and steers what workers do. @module */
import type { ConnectionContext } from "../../connection/connection_context.ts";
import { checkDuration, checkInteger } from "../../option_checks.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import type {
  CancelOutcome,
  RequestInHand,
} from "../../rpc/discovery/control_contract.ts";
import {
  type AnsweringWorker,
  command,
  type OperationOptions,
} from "./commands.ts";
import {
  pause,
  type PausedQueue,
  type PauseResult,
  pauses,
  resume,
  type ResumeResult,
} from "./pauses.ts";
import {
  checkServices,
  checkTarget,
  checkText,
  type SteeredServices,
  type SteeredTarget,
} from "./targets.ts";
import { runTask, type TaskRunResult } from "./tasks.ts";

/**
 * Requests that workers have in hand.
 * @category Operations
 */
export interface RunningRequests {
  /** The first 1000 requests of each worker. */
  readonly requests: readonly (RequestInHand & AnsweringWorker)[];
  /** Number of the others. */
  readonly more: number;
  /** Hosts of the services that take no commands. */
  readonly refused: readonly string[];
}

/**
 * Result of a cancellation.
 * @category Operations
 */
export interface CancelResult {
  /** True if a worker had the request in hand. */
  readonly found: boolean;
  /** Workers that had it, and what became of it there. */
  readonly workers: readonly (AnsweringWorker & {
    readonly outcome: CancelOutcome;
    readonly procedure?: string | undefined;
  })[];
  /** Hosts of the services that take no commands. */
  readonly refused: readonly string[];
}

/**
 * Result of a change of the concurrency.
 * @category Operations
 */
export interface ConcurrencyResult {
  /** Workers, with their maximum before and now. */
  readonly workers: readonly (AnsweringWorker & {
    readonly before: number;
    readonly concurrency: number;
  })[];
  /** Hosts of the services that take no commands. */
  readonly refused: readonly string[];
}

/**
 * Options of a pause.
 * @category Operations
 */
export interface PauseOptions extends OperationOptions {
  /** Reason, 1 to 1000 characters, which callers get with `PausedError`. */
  readonly reason: string;
}

/**
 * Operations on services that run with `remoteControl`. Each throws `ControlRefusedError` if services refuse it and none
 * takes it, and `InvalidValueError` for a wrong argument.
 * @category Operations
 */
export interface SteeringOperations {
  /** Lists the requests that workers have in hand, of all services or of some. */
  running(
    services?: SteeredServices,
    options?: OperationOptions,
  ): Promise<RunningRequests>;
  /**
   * Cancels the request with this id at the worker that has it in hand: its caller gets a `CancelledError`, a cast becomes
   * a dead letter. A request that waits on the broker is not found.
   */
  cancel(id: string, options?: OperationOptions): Promise<CancelResult>;
  /** Sets the maximum of handlers that run at once, 1 to 65535, until the services end. */
  setConcurrency(
    services: SteeredServices,
    handlers: number,
    options?: OperationOptions,
  ): Promise<ConcurrencyResult>;
  /**
   * Runs a periodic task now, on its leader or on one service. `timeout` limits the wait for its end; default 60 000.
   *
   * @throws {ControlRefusedError} the task runs already (`data.reason` is `running`), no service that answered is its leader
   * (`notLeading`), or it has not ended in time (`timeout`).
   */
  runTask(
    target: SteeredTarget,
    task: string,
    options?: OperationOptions,
  ): Promise<TaskRunResult>;
  /** Pauses the queue of a topic, or of one host: calls fail with `PausedError`, casts wait until `resume`. */
  pause(target: SteeredTarget, options: PauseOptions): Promise<PauseResult>;
  /** Resumes a queue, and moves the casts that wait back to it. If it was broken off, a repetition finishes it. */
  resume(
    target: SteeredTarget,
    options?: OperationOptions,
  ): Promise<ResumeResult>;
  /**
   * Lists the queues that running services report as paused. The queue of a topic that is given, or of its host, is listed
   * also if no service runs.
   */
  pauses(
    services?: SteeredServices,
    options?: OperationOptions,
  ): Promise<readonly PausedQueue[]>;
}

const optionNames = namesOf<OperationOptions>({ timeout: true });
const pauseNames = namesOf<PauseOptions>({ reason: true, timeout: true });

/** Longest id and name of a task, and longest reason, in characters. */
const MAX_NAME = 255;
const MAX_REASON = 1_000;

/** Creates the operations on a connection. */
export function steering(connection: ConnectionContext): SteeringOperations {
  return {
    running: (services = {}, options = {}) => {
      return checked(options, () => checkServices(services))
        .then(() => running(connection, services, options));
    },
    cancel: (id, options = {}) =>
      checked(options, () => checkText("id", id, MAX_NAME))
        .then(() => cancel(connection, id, options)),
    setConcurrency: (services, handlers, options = {}) =>
      checked(options, () => {
        checkServices(services);
        checkInteger("concurrency", handlers, 1, 65_535);
      }).then(() => setConcurrency(connection, services, handlers, options)),
    runTask: (target, task, options = {}) =>
      checked(options, () => {
        checkTarget(target);
        checkText("task", task, MAX_NAME);
      }).then(() => runTask(connection, target, task, options)),
    pause: (target, options) =>
      checked(options, () => {
        checkTarget(target);
        checkText("reason", options?.reason, MAX_REASON);
      }, pauseNames).then(() =>
        pause(connection, target, options.reason, options)
      ),
    resume: (target, options = {}) =>
      checked(options, () => checkTarget(target))
        .then(() => resume(connection, target, options)),
    pauses: (services = {}, options = {}) =>
      checked(options, () => checkServices(services))
        .then(() => pauses(connection, services, options)),
  };
}

/** Checks the options of an operation, and its arguments; rejects with what a check throws. */
async function checked(
  options: OperationOptions,
  check: () => void,
  names = optionNames,
): Promise<void> {
  checkNames(options, names);
  if (options?.timeout !== undefined) checkDuration("timeout", options.timeout);
  await check();
}

async function running(
  connection: ConnectionContext,
  to: SteeredServices,
  options: OperationOptions,
): Promise<RunningRequests> {
  const request = { name: "running", to, args: {} } as const;
  const { taken, refused } = await command(connection, request, options);
  const requests = taken.flatMap(({ host, worker, requests = [] }) =>
    requests.map((each) => ({ ...each, host, worker }))
  );
  const more = taken.reduce((sum, { more = 0 }) => sum + more, 0);
  return { requests, more, refused };
}

async function cancel(
  connection: ConnectionContext,
  request: string,
  options: OperationOptions,
): Promise<CancelResult> {
  const { taken, refused } = await command(connection, {
    name: "cancel",
    to: {},
    args: { request },
  }, options);
  const workers = taken.flatMap(({ host, worker, outcome, procedure }) =>
    outcome ? [{ host, worker, outcome, procedure }] : []
  );
  return { found: workers.length > 0, workers, refused };
}

async function setConcurrency(
  connection: ConnectionContext,
  to: SteeredServices,
  handlers: number,
  options: OperationOptions,
): Promise<ConcurrencyResult> {
  const { taken, refused } = await command(connection, {
    name: "setConcurrency",
    to,
    args: { handlers },
  }, options);
  const workers = taken.map((answer) => {
    const { host, worker, before = 0, concurrency = handlers } = answer;
    return { host, worker, before, concurrency };
  });
  return { workers, refused };
}

/** Runs of periodic tasks at the word of an operator. @module */
import type { ConnectionContext } from "../../connection/connection_context.ts";
import { InvalidValueError } from "../../errors.ts";
import { ControlRefusedError } from "../../operator_errors.ts";
import type { ControlAnswer } from "../../rpc/discovery/control_contract.ts";
import {
  type AnsweringWorker,
  command,
  type OperationOptions,
} from "./commands.ts";
import type { SteeredTarget } from "./targets.ts";

/**
 * Run of a periodic task.
 * @category Operations
 */
export interface TaskRunResult extends AnsweringWorker {
  /** Duration in milliseconds. */
  readonly duration: number;
  /** Text of the error that the task threw; undefined if it succeeded. */
  readonly error?: string | undefined;
}

/** Default of the milliseconds to wait for the end of a task. */
const RUN_TIMEOUT_MS = 60_000;

/** Runs a task on the service that can run it: on the leader, or on the first that answers. */
export async function runTask(
  connection: ConnectionContext,
  target: SteeredTarget,
  task: string,
  { timeout = RUN_TIMEOUT_MS }: OperationOptions,
): Promise<TaskRunResult> {
  const { topic, host } = target;
  const isReady = (answer: ControlAnswer) => answer.task === "ready";
  const { taken } = await command(connection, {
    name: "findTask",
    to: { topic, host },
    args: { task },
    isLast: isReady,
  });
  const found = taken.find(isReady);
  if (!found) throw notReady(target, task, taken);
  const { taken: [run] } = await command(connection, {
    name: "runTask",
    to: { topic, host: found.host, service: found.id },
    args: { task },
    isLast: ({ id }) => id === found.id,
  }, { timeout });
  if (run?.duration === undefined) {
    if (run) throw notReady(target, task, [run]);
    throw new ControlRefusedError(
      `Task ${task} of ${topic} on ${found.host} has not ended within ${timeout} ms; it may still run`,
      { data: { hosts: [found.host], reason: "timeout" }, inDoubt: true },
    );
  }
  const { worker, duration, error } = run;
  return { host: found.host, worker, duration, error };
}

/** Creates the error for a task that no service can run now. */
function notReady(
  { topic, host }: SteeredTarget,
  task: string,
  answers: readonly ControlAnswer[],
): Error {
  const where = host === undefined ? topic : `${topic} on ${host}`;
  const running = answers.filter((each) => each.task === "running");
  const waiting = answers.filter((each) => each.task === "notLeading");
  const hosts = [...running, ...waiting].map((each) => each.host);
  if (hosts.length === 0) {
    return new InvalidValueError(
      `Invalid task "${task}": no service of ${where} has answered that it has this task`,
      { data: { path: "task" } },
    );
  }
  const reason = running.length > 0 ? "running" : "notLeading";
  const text = running.length > 0
    ? `it runs already on ${hosts.join(", ")}`
    : "none of the services that answered is its leader";
  return new ControlRefusedError(`Cannot run ${task} of ${where}: ${text}`, {
    data: { hosts, reason },
  });
}

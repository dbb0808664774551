/** Operations that look at the queues and the workers of a topic, and change nothing. @module */
import type { ConnectionContext } from "../connection/connection_context.ts";
import type { Target } from "../rpc/client/call_options.ts";
import { diagnose, type DiagnoseOptions } from "./diagnosis/diagnose.ts";
import type { Diagnosis } from "./diagnosis/diagnosis.ts";
import {
  listQueues,
  type QueueFilter,
  type QueueInfo,
  type QueuesOptions,
} from "./queues/queue_list.ts";

/**
 * Operations that look at queues.
 * @category Operations
 */
export interface QueueOperations {
  /**
   * Lists the queues of a topic, or of all services that run, with what each of them is for.
   *
   * @throws {InvalidValueError} the filter or an option is wrong.
   * @throws {ConnectionFailedError} there is no connection to the broker.
   */
  readonly queues: (
    filter?: QueueFilter,
    options?: QueuesOptions,
  ) => Promise<QueueInfo[]>;
  /**
   * Says why calls to a target fail or wait: whether there is a queue, who consumes it, how many messages wait, and whether
   * its workers are full, blocked or of another version. With a procedure, also whether a worker has it.
   *
   * @throws {InvalidValueError} the target or an option is wrong.
   */
  readonly diagnose: (
    target: Target,
    procedure?: string,
    options?: DiagnoseOptions,
  ) => Promise<Diagnosis>;
}

/** Returns the operations on queues of a connection. */
export function queueOperations(
  connection: ConnectionContext,
): QueueOperations {
  return {
    queues: (filter, options) => listQueues(connection, filter, options),
    diagnose: (target, procedure, options) =>
      diagnose(connection, target, procedure, options),
  };
}

/** Operations: the record of what an operator does, on which a command line and a dashboard stand. @module */
import {
  type ConnectionContext,
  dependenciesOf,
} from "../connection/connection_context.ts";
import {
  type DeadLetterOperations,
  deadLetterOperations,
} from "./letters/dead_letters.ts";
import { type QueueOperations, queueOperations } from "./queue_operations.ts";
import { steering, type SteeringOperations } from "./steering/steering.ts";

/**
 * Operations on a broker and its services.
 * @category Operations
 */
export interface Operations
  extends DeadLetterOperations, QueueOperations, SteeringOperations {}

/**
 * Returns the operations on the broker of a connection, and on its services.
 *
 * @example
 * ```ts
 * import { createConnection, operations } from "@warren/runtime";
 *
 * await using connection = await createConnection("memory:doc");
 * const { deadLetters, diagnose, replay } = operations(connection);
 * const { findings } = await diagnose({ topic: "volumes" });
 * for (const { code, text } of findings) console.log(code, text); // NO_QUEUE There is no queue volumes: …
 * for await (const { id, procedure, reason } of deadLetters({ topic: "volumes" })) {
 *   console.log(id, procedure, reason);
 * }
 * const { replayed } = await replay({ topic: "volumes", procedure: "grow" }, { perSecond: 50 });
 * console.log(replayed);
 * ```
 * @category Operations
 */
export function operations(connection: ConnectionContext): Operations {
  const { resources: { session }, messages: { limits } } = dependenciesOf(
    connection,
  );
  return {
    ...deadLetterOperations({ session, limits }),
    ...queueOperations(connection),
    ...steering(connection),
  };
}

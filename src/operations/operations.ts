/** Operations: the record of what an operator does, on which a command line and a dashboard stand. @module */
import type { ConnectionContext } from "../connection/connection_context.ts";
import { type QueueOperations, queueOperations } from "./queue_operations.ts";

/**
 * Operations on a broker and its services.
 * @category Operations
 */
export interface Operations extends QueueOperations {}

/**
 * Returns the operations on the broker of a connection.
 *
 * @example
 * ```ts
 * import { createConnection, operations } from "@warren/runtime";
 *
 * await using connection = await createConnection("memory:doc");
 * const { findings } = await operations(connection).diagnose({ topic: "volumes" });
 * for (const { code, text } of findings) console.log(code, text); // NO_QUEUE There is no queue volumes: …
 * ```
 * @category Operations
 */
export function operations(connection: ConnectionContext): Operations {
  return { ...queueOperations(connection) };
}

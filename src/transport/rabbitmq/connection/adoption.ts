/** Queues that exist in another form than the one in which they were to be declared. @module */
import { TopologyError } from "../../../errors.ts";
import type { Queue } from "../routes/entities.ts";

/** Returns the error for a queue that the broker refuses to declare, with the reason that it has for this queue. */
export function refusalOf(queue: Queue, error: unknown): unknown {
  const { isLock, name } = queue;
  if (!isLock || !(error instanceof TopologyError)) return error;
  const { argument, existing } = error.data;
  if (argument !== "x-queue-type") return error;
  return new TopologyError(
    `Cannot use queue ${name}: its type is ${existing}, and only a classic queue keeps other consumers out while it has an exclusive one; ` +
      "stop the programs that consume it and delete it, so that it is declared anew",
    { data: error.data },
  );
}

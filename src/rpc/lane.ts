/** One consumer of a server, and what tells the requests that come there from each other. @module */
import type { Queue } from "../bus/routes.ts";
import type { Request } from "../wire/envelope.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { JobHooks } from "./job.ts";
import type { Ledger } from "./ledger.ts";

/** One consumer: who serves what comes there, what came before, and its queue, unless that holds copies of what all get. */
export interface Lane {
  /** Serves its requests. */
  readonly dispatcher: Dispatcher;
  /** What came there before. */
  readonly ledger: Ledger;
  /** Undefined where all workers get a copy. */
  readonly queue: Queue | undefined;
  /** What its requests ask of the server. */
  readonly hooks: JobHooks;
}

/** What tells one request from another: a stranger may have made up its id, but who asks for an answer gets his own. */
export function identityOf(
  { id, attempt = 1, burials, reply }: Request,
): string | undefined {
  if (id === undefined) return undefined;
  return JSON.stringify([id, attempt, burials, reply?.call, reply?.queue]);
}

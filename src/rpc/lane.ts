/** One consumer of a server, and what tells the requests that come there from each other. @module */
import type { Queue, Route } from "../bus/routes.ts";
import type { Request } from "../wire/envelope.ts";
import type { Addressee } from "./addressee.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { type Answered, Ledger } from "./ledger.ts";

/** One consumer: who serves what comes there, what came before, and its queue, unless that holds copies of what all get. */
export interface Lane {
  /** Serves its requests. */
  readonly dispatcher: Dispatcher;
  /** The address whose requests those are. */
  readonly addressee: Addressee;
  /** What came there before. */
  readonly ledger: Ledger;
  /** Undefined where all workers get a copy. */
  readonly queue: Queue | undefined;
  /** Where what workers do not finish is handled apart; undefined where that is not done. */
  quarantine?: Route | undefined;
  /** Whether this is that place: `queue` is then the one beside which it is. */
  readonly quarantined?: boolean;
}

/** A lane on its own; `queue` is its queue, unless all workers get a copy. */
export function laneOf(
  dispatcher: Dispatcher,
  addressee: Addressee,
  queue: Queue | undefined,
  answered: Answered,
): Lane {
  return { dispatcher, addressee, queue, ledger: new Ledger(answered) };
}

/** What tells one request from another: a stranger may have made up its id, but who asks for an answer gets his own. */
export function identityOf(
  { id, attempt = 1, burials = 0, reply }: Request,
): string | undefined {
  if (id === undefined) return undefined;
  const { call = "", queue = "" } = reply ?? {};
  // With the lengths of what strangers say, no two requests have the same. Most calls have the request's own id.
  const [length, more] = call === id ? ["", ""] : [call.length, call];
  return `${attempt} ${burials} ${id.length} ${length} ${id}${more}${queue}`;
}

/** Source of dead letters: what the operations on them need of a connection. @module */
import type { Session } from "../../transport/transport.ts";
import type { Limits } from "../../wire/mod.ts";

/** Collaborators and settings of the operations on dead letters. */
export interface LetterSource {
  /** Reads queues, and publishes copies. */
  readonly session: Session;
  /** Limits of the messages of the connection. */
  readonly limits: Limits;
  /** Ends an operation early. */
  readonly signal?: AbortSignal | undefined;
}

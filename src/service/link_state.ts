/** How the link of a connection is, as its events tell. @module */
import type { ConnectionEvents } from "../rpc/connection_events.ts";

/** `connecting` before the first connection; `blocked`: the broker takes no messages, and delivers them all the same. */
export type LinkCondition =
  | "connecting"
  | "up"
  | "blocked"
  | "recovering"
  | "failed";

/** Follows one connection. */
export class LinkState {
  #condition: LinkCondition = "connecting";

  /** How it is now. */
  get condition(): LinkCondition {
    return this.#condition;
  }

  /** The connection is up, and followed from now on. */
  follow(connection: ConnectionEvents): void {
    this.#condition = "up";
    const conditions = {
      connected: "up",
      unblocked: "up",
      blocked: "blocked",
      disconnected: "recovering",
      failed: "failed",
    } as const;
    for (const [event, condition] of Object.entries(conditions)) {
      connection.addEventListener(event, () => this.#condition = condition);
    }
  }
}

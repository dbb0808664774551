/** How the link of a connection is, as its events tell. @module */
import type { ConnectionEvents } from "../../connection/connection_events.ts";
import type { LinkHealth } from "../../transport/transport.ts";

/** `connecting` before the first connection; `blocked`: the broker takes no messages, and delivers them all the same. */
export type LinkCondition =
  | "connecting"
  | "up"
  | "blocked"
  | "recovering"
  | "failed";

/** A connection that tells how its link is. */
export interface Followed extends ConnectionEvents {
  /** How both sides of the link are. */
  health(): LinkHealth;
}

/** Follows one connection. */
export class LinkState {
  #condition: LinkCondition = "connecting";
  #followed: Followed | undefined;

  /** How it is now. */
  get condition(): LinkCondition {
    return this.#condition;
  }

  /** Both sides of the link; undefined before the first connection. */
  get health(): LinkHealth | undefined {
    return this.#followed?.health();
  }

  /** The connection is up, and followed from now on. */
  follow(connection: Followed): void {
    this.#followed = connection;
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

/** How a link is, and what was last proven of it. @module */

/**
 * `blocked`: the broker takes no messages from this side. `recovering`: not connected yet or not again, or a consumer is
 * still missing. `failed`: given up.
 */
export type SideState = "up" | "blocked" | "recovering" | "failed";

/** One of the two connections of a link. */
export interface SideHealth {
  /** How it is now. */
  readonly state: SideState;
  /** Since when it has been so. */
  readonly since: Date;
  /**
   * When the broker last proved that it works. Publishing: by the confirm of a message, or a probe that came through;
   * consuming: by a delivery, the start of a consumer, or a probe.
   */
  readonly proof: Date | undefined;
  /** How often the connection was lost. */
  readonly losses: number;
}

/** The connection that consumes. */
export interface ConsumingHealth extends SideHealth {
  /** Consumers that there should be, and those that consume on the connection as it is now. */
  readonly consumers: { readonly wanted: number; readonly consuming: number };
}

/** Both connections of a link. */
export interface LinkHealth {
  /** The one that sends. */
  readonly publishing: SideHealth;
  /** The one that receives. */
  readonly consuming: ConsumingHealth;
  /** Deliveries that were settled after their channel was gone: the broker delivers them again. */
  readonly stale: number;
}

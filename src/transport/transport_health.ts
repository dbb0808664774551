/** Health of a transport: the states of its connections and their last confirmed activity. @module */

/**
 * State of a connection. `blocked`: the broker accepts no messages from this connection. `recovering`: the connection
 * is not open, or a consumer is not restored yet. `failed`: the connection is not opened again.
 * @category Connections
 */
export type ConnectionState = "up" | "blocked" | "recovering" | "failed";

/**
 * Health of one of the two connections of a transport.
 * @category Connections
 */
export interface ConnectionHealth {
  /** Current state. */
  readonly state: ConnectionState;
  /** Time of the last change of state. */
  readonly since: Date;
  /**
   * Time at which the broker last proved that it works: for the publishing connection by a confirm or a liveness probe,
   * for the consuming connection by a delivery, the start of a consumer or a liveness probe.
   */
  readonly lastProof: Date | undefined;
  /** Number of times that the connection was lost. */
  readonly losses: number;
}

/**
 * Health of the consuming connection.
 * @category Connections
 */
export interface ConsumingHealth extends ConnectionHealth {
  /** Number of consumers that should exist, and of those that consume now. */
  readonly consumers: { readonly wanted: number; readonly consuming: number };
}

/**
 * Health of a transport.
 * @category Connections
 */
export interface TransportHealth {
  /** The connection that publishes. */
  readonly publishing: ConnectionHealth;
  /** The connection that consumes. */
  readonly consuming: ConsumingHealth;
  /** Deliveries that were settled after their channel was closed: the broker delivers them again. */
  readonly stale: number;
  /**
   * Types of the queues that this process declared with `queueType: "auto"`, or that it uses although they exist in
   * another form, by their names; at most 100. Undefined if there are none.
   */
  readonly foundTypes?: Readonly<Record<string, "classic" | "quorum">>;
}

/** A queue as the broker reports it. */
export interface QueueState {
  /** Ready messages, without those that are delivered and unacknowledged. */
  readonly messages: number;
  /** Number of consumers. */
  readonly consumers: number;
}

/** Change of the state of a transport. */
export type TransportEvent =
  | { readonly type: "connected" }
  | {
    readonly type: "disconnected" | "blocked" | "failed";
    readonly reason: string;
    readonly error?: Error;
  }
  | { readonly type: "unblocked" };

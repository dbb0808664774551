/** Destination of a message as telemetry names it. @module */

/** Names of a destination and of its broker. */
export interface Destination {
  /** Name of the destination: on RabbitMQ the exchange and the routing key, joined by a colon. */
  readonly name: string;
  /** Routing key; undefined without one. */
  readonly routingKey?: string | undefined;
  /** Host of the broker to which the process is connected; undefined while it is not connected. */
  readonly host?: string | undefined;
  /** Port of the broker. */
  readonly port?: number | undefined;
}

/** Version of a broker, and what follows from it. @module */
import type { Connection } from "../../amqp/mod.ts";
import type { Queue } from "./routes/entities.ts";

/** Parts of a version that changes of behaviour are bound to. */
export interface BrokerVersion {
  readonly major: number;
  readonly minor: number;
}

/** Returns the version that a broker has told when the connection was opened; 0.0 if it has told none. */
export function versionOf(
  { serverProperties: { version } }: Pick<Connection, "serverProperties">,
): BrokerVersion {
  const [major = 0, minor = 0] = String(version).split(".").map(Number);
  return { major: major || 0, minor: minor || 0 };
}

/** True for a version from `major.minor` on. */
export const isSince = (
  version: BrokerVersion,
  major: number,
  minor: number,
): boolean =>
  version.major > major || version.major === major && version.minor >= minor;

/**
 * True if deliveries from a queue have to be acknowledged within `consumer_timeout`: from RabbitMQ 4.3 on, those from classic
 * queues need not be. A virtual host may have another default type, so that a queue without a type may be of any.
 */
export const hasConsumerTimeout = (
  version: BrokerVersion,
  { arguments: { "x-queue-type": type } }: Pick<Queue, "arguments">,
): boolean => type !== "classic" || !isSince(version, 4, 3);

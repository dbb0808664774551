/** Events: whoever notifies need not know who listens (Nova: `notifier/api.py`). @module */
import { InvalidValueError } from "../errors.ts";
import { oneLine } from "../telemetry.ts";
import type { Routes } from "../bus/routes.ts";
import type { Transport } from "../bus/transport.ts";
import { encode, type Limits } from "../wire/codec.ts";
import type { Dialect } from "../wire/dialect.ts";
import type { Notification } from "../wire/envelope.ts";
import { newId } from "./context.ts";
import { castBounds, type SendOptions } from "./options.ts";

/** How urgent an event is; each has a queue of its own. */
export type Priority =
  | "audit"
  | "debug"
  | "info"
  | "warn"
  | "error"
  | "critical"
  | "sample";

/** All of them. */
export const priorities: readonly Priority[] = [
  "audit",
  "debug",
  "info",
  "warn",
  "error",
  "critical",
  "sample",
];

/** Options of `notify`. */
export interface NotifyOptions extends SendOptions {
  /** Default `info`. */
  readonly priority?: Priority | undefined;
  /** Who says it, `service.host`; default: the connection's. */
  readonly publisherId?: string | undefined;
}

/** What notifications need. */
export interface NotificationParts {
  /** To send and consume on. */
  readonly transport: Transport;
  /** Where events go. */
  readonly routes: Routes;
  /** How to say it. */
  readonly dialect: Dialect;
  /** Bounds on messages. */
  readonly limits: Limits;
  /** Who says it unless a call says otherwise. */
  readonly publisherId: string;
}

/** Topic of the events (Nova: `notification_topics`). */
export const TOPIC = "notifications";
/**
 * Checks a priority.
 *
 * @throws {InvalidValueError}
 */
export function checkPriority(priority: Priority): Priority {
  if (priorities.includes(priority)) return priority;
  throw new InvalidValueError(
    `Invalid option priority ${oneLine(priority, 40)}: give one of ${
      priorities.join(", ")
    }`,
    {
      data: { path: "priority" },
    },
  );
}

/** No listener takes an event without a type, or with an endless one. */
function checkEventType(eventType: string): void {
  const { length } = new TextEncoder().encode(eventType);
  if (typeof eventType === "string" && length > 0 && length <= 255) return;
  throw new InvalidValueError(
    `Invalid event type ${oneLine(eventType, 40)}: give 1 to 255 bytes`,
    { data: { path: "eventType" } },
  );
}

/** As Python writes a UTC time: `2026-11-22 10:33:35.514820`. */
function timestamp(): string {
  return new Date().toISOString().replace("T", " ").replace("Z", "000");
}

/** Sends an event. Its queue is made first, so that nothing is lost before the first listener. */
export async function notify(
  parts: NotificationParts,
  eventType: string,
  payload: unknown,
  options: NotifyOptions,
): Promise<void> {
  const priority = checkPriority(options.priority ?? "info");
  checkEventType(eventType);
  const { wait, values } = castBounds(options);
  const id = newId();
  const event: Notification = {
    kind: "notification",
    id,
    messageId: crypto.randomUUID(),
    publisherId: options.publisherId ?? parts.publisherId,
    eventType,
    priority: priority.toUpperCase(),
    payload,
    timestamp: timestamp(),
    context: values,
  };
  const encoded = encode(event, parts.dialect, parts.limits);
  const route = parts.routes.notify(TOPIC, priority);
  await parts.transport.declare(route, wait);
  await parts.transport.publish(
    route,
    { ...encoded, id, persistent: true },
    wait,
  );
}

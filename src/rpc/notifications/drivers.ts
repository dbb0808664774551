/** Drivers of notifications: the destinations of events (Nova: `notifier/api.py`, `notification_driver`). @module */
import type { ApplicationHeaders } from "../../contract/application_headers.ts";
import { logger, oneLine } from "../../logging.ts";
import type { Deadline, Message, Session } from "../../transport/transport.ts";
import { NoRouteError, TimeoutError } from "../../errors.ts";
import { withDeadline } from "../../async/deadline.ts";
import {
  direct,
  type QueueAddress,
  queueName,
} from "../../transport/address.ts";
import {
  type Dialect,
  encode,
  grizzly,
  type Limits,
  type Notification,
  oslo,
} from "../../wire/mod.ts";
import type { DeadLetterSettings } from "../letters/dead_letter_listener.ts";
import type { NotificationPriority } from "./priority.ts";

/**
 * Destination of events: `bus`, the queue of their priority; `log`, the log category `warren.notification`, with
 * secrets redacted; `none`; or a function.
 * @category Events
 */
export type NotificationDriver =
  | "bus"
  | "log"
  | "none"
  | ((event: Notification) => void | Promise<void>);

/**
 * Settings of notifications.
 * @category Events
 */
export interface NotificationSettings {
  /**
   * Drivers, each of which gets every event. With several drivers, an error of one is logged, and affects neither the
   * sender nor the other drivers. Default: `bus` alone, whose error is thrown to the sender.
   */
  readonly drivers?: readonly NotificationDriver[] | undefined;
  /** Priority of an event without one; default `info` (Nova: `default_notification_level`). */
  readonly priority?: NotificationPriority | undefined;
  /** Format; `2.0` has an envelope. Default: `1.0`, or `2.0` with `dialect: "oslo"` (oslo.messaging: `messaging`, `messagingv2`). */
  readonly format?: "1.0" | "2.0" | undefined;
  /** Topics; default `["notifications"]` (Nova: `notification_topics`). */
  readonly topics?: readonly string[] | undefined;
}

/** Defaults of the events of a connection. */
export interface NotificationDefaults {
  /** Drivers, topics, format and priority. */
  readonly settings: NotificationSettings;
  /** Sender, `service.host`. */
  readonly publisherId: string;
  /** True if the bus is OpenStack's. */
  readonly openstack: boolean;
  /** True if the spans of events have traces of their own, with links to their senders. */
  readonly linksCasts: boolean;
  /** Dead letters of the connection's listeners. */
  readonly deadLetters: DeadLetterSettings;
}

/** Collaborators of notifications. */
export interface NotificationResources {
  /** Publishes and consumes. */
  readonly session: Session;
  /** Dialect of events. */
  readonly dialect: Dialect;
  /** Limits of messages. */
  readonly limits: Limits;
  /** Defaults of the connection. */
  readonly defaults: NotificationDefaults;
}

/** Event to be sent. */
export interface OutgoingNotification {
  /** The event. */
  readonly event: Notification;
  /** Deadline of the delivery. */
  readonly deadline: Deadline;
  /** Application headers. */
  readonly headers?: ApplicationHeaders | undefined;
}

/**
 * Driver that stores events, for tests.
 * @category Testing
 */
export type TestNotifier = ((event: Notification) => void) & {
  /** Events that the driver received. */
  readonly events: readonly Notification[];
};

/**
 * Creates a driver that stores events, for tests (Nova: `test_notifier`).
 * @category Testing
 */
export function testNotifier(): TestNotifier {
  const events: Notification[] = [];
  return Object.assign((event: Notification) => void events.push(event), {
    events,
  });
}

const LEVELS = {
  AUDIT: "info",
  DEBUG: "debug",
  INFO: "info",
  WARN: "warn",
  ERROR: "error",
  CRITICAL: "fatal",
  SAMPLE: "info",
} as const;

function logNotification(event: Notification): void {
  const level = LEVELS[event.priority as keyof typeof LEVELS] ?? "info";
  const { publisherId, payload } = event;
  logger("notification", true)[level]("{type} of {publisher}: {payload}", {
    type: oneLine(event.eventType, 60),
    publisher: oneLine(publisherId, 60),
    payload: payload ?? null,
  });
}

/** Publishes an event on the bus. Until there is a listener, events wait in the queue of their priority. */
async function publishToBus(
  { session, limits, dialect, defaults }: NotificationResources,
  { event, deadline, headers }: OutgoingNotification,
): Promise<void> {
  const { openstack, settings: { format, topics = [TOPIC] } } = defaults;
  const enveloped = format === undefined ? dialect === oslo : format === "2.0";
  const content = dialect.hasIds ? event : { ...event, id: undefined };
  const encoded = encode(content, enveloped ? oslo : grizzly, limits);
  for (const topic of topics) {
    const priority = event.priority.toLowerCase();
    const address: QueueAddress = { kind: "event", topic, priority };
    const message = {
      body: encoded.body,
      headers: { ...headers, ...encoded.headers },
      messageId: event.id,
      persistent: true,
    };
    if (openstack) {
      await session.declare(address, deadline); // oslo.messaging declares the queue as well
      await session.waitForNewQueues(deadline);
      await session.publish(address, message, deadline);
    } else {
      const mandatory = { ...message, mandatory: true };
      await publishOrStore(session, address, mandatory, deadline);
    }
  }
}

/**
 * Publishes an event to all listeners. If there is none, declares the queue of the event's priority and sends the event
 * to it. The queue is not bound before a listener consumes it, so it does not grow while all listeners have queues of
 * their own.
 */
async function publishOrStore(
  session: Session,
  address: QueueAddress,
  message: Message,
  deadline: Deadline,
): Promise<void> {
  try {
    await session.publish(address, message, deadline);
  } catch (error) {
    if (!(error instanceof NoRouteError)) throw error;
    await session.declare(address, deadline, { bind: false });
    await session.waitForNewQueues(deadline);
    await session.publish(direct(queueName(address)), message, deadline);
  }
}

/** Default topic of events (Nova: `notification_topics`). */
export const TOPIC = "notifications";

async function deliver(
  driver: NotificationDriver,
  resources: NotificationResources,
  outgoing: OutgoingNotification,
): Promise<void> {
  if (driver === "bus") await publishToBus(resources, outgoing);
  else if (driver === "log") logNotification(outgoing.event);
  else if (driver !== "none") await driver(outgoing.event);
}

/** Delivers an event to the drivers of the connection. */
export async function deliverToDrivers(
  resources: NotificationResources,
  outgoing: OutgoingNotification,
): Promise<void> {
  const { drivers } = resources.defaults.settings;
  if (!drivers) return await publishToBus(resources, outgoing);
  const { deadline } = outgoing;
  const timeoutError = () => new TimeoutError("The driver takes too long");
  const deliveries = drivers.map((driver) =>
    withDeadline(deliver(driver, resources, outgoing), deadline, timeoutError)
      .catch(
        (error) => {
          const name = typeof driver === "string" ? driver : driver.name;
          logger("notification").error("The driver {name} failed: {error}", {
            name: oneLine(name || "function", 60),
            error,
          }, name);
        },
      )
  );
  await Promise.all(deliveries);
}

/** Where events go (Nova: `notifier/api.py`, `notification_driver`). @module */
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
import type { NotificationPriority } from "./priority.ts";

/**
 * Takes events: `bus`, the queue of their priority; `log`, the log category `warren.notification`, with secrets masked;
 * `none`; or a function of yours.
 */
export type NotificationDriver =
  | "bus"
  | "log"
  | "none"
  | ((event: Notification) => void | Promise<void>);

/** What is done with events. */
export interface NotificationSettings {
  /**
   * Who takes them: all of those that are named. Where any are, one that fails is logged, and fails neither the caller nor the
   * others. Default: the bus alone, whose failure is the caller's.
   */
  readonly drivers?: readonly NotificationDriver[] | undefined;
  /** Priority of an event that says none; default `info` (Nova: `default_notification_level`). */
  readonly priority?: NotificationPriority | undefined;
  /** `2.0` is in an envelope; default `1.0`, with `dialect: "oslo"` `2.0` (oslo.messaging: `messaging`, `messagingv2`). */
  readonly format?: "1.0" | "2.0" | undefined;
  /** Topics; default `["notifications"]` (Nova: `notification_topics`). */
  readonly topics?: readonly string[] | undefined;
}

/** What notifications need. */
export interface NotificationParts {
  /** What is done with events. */
  readonly notifications: NotificationSettings;
  /** Whether the bus is OpenStack's. */
  readonly openstack: boolean;
  /** To send and consume on. */
  readonly session: Session;
  /** How to say it. */
  readonly dialect: Dialect;
  /** Bounds on messages. */
  readonly limits: Limits;
  /** Who says it unless a call says otherwise. */
  readonly publisherId: string;
}

/** A driver that keeps what it takes, for tests. */
export type TestNotifier = ((event: Notification) => void) & {
  /** What came. */
  readonly events: readonly Notification[];
};

/** Makes a driver that keeps what it takes, for tests (Nova: `test_notifier`). */
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

/** Nothing is lost before the first listener: what no queue takes waits in the shared one. */
async function publishToBus(
  parts: NotificationParts,
  event: Notification,
  deadline: Deadline,
): Promise<void> {
  const { session, limits, dialect, openstack } = parts;
  const { format, topics = [TOPIC] } = parts.notifications;
  const enveloped = format === undefined ? dialect === oslo : format === "2.0";
  const said = dialect.hasIds ? event : { ...event, id: undefined };
  const encoded = encode(said, enveloped ? oslo : grizzly, limits);
  for (const topic of topics) {
    const priority = event.priority.toLowerCase();
    const address: QueueAddress = { kind: "event", topic, priority };
    const message = { ...encoded, messageId: event.id, persistent: true };
    if (openstack) {
      await session.declare(address, deadline); // as oslo.messaging does
      await session.publish(address, message, deadline);
    } else {await offer(
        session,
        address,
        { ...message, mandatory: true },
        deadline,
      );}
  }
}

/**
 * To whoever listens. Where nobody does, the shared queue is made and gets the event, but is not bound: a listener of that
 * queue binds it. So it does not grow while all listeners have queues of their own.
 */
async function offer(
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
    await session.publish(direct(queueName(address)), message, deadline);
  }
}

/** Topic of the events (Nova: `notification_topics`). */
export const TOPIC = "notifications";

async function take(
  driver: NotificationDriver,
  parts: NotificationParts,
  event: Notification,
  deadline: Deadline,
): Promise<void> {
  if (driver === "bus") await publishToBus(parts, event, deadline);
  else if (driver === "log") logNotification(event);
  else if (driver !== "none") await driver(event);
}

/** Hands an event to its drivers. */
export async function deliverToDrivers(
  parts: NotificationParts,
  event: Notification,
  deadline: Deadline,
): Promise<void> {
  const { drivers } = parts.notifications;
  if (!drivers) return await publishToBus(parts, event, deadline);
  const late = () => new TimeoutError("The driver takes too long");
  const taking = drivers.map((driver) =>
    withDeadline(take(driver, parts, event, deadline), deadline, late).catch(
      (error) => {
        const name = typeof driver === "string" ? driver : driver.name;
        logger("notification").error("The driver {name} failed: {error}", {
          name: oneLine(name || "function", 60),
          error,
        }, name);
      },
    )
  );
  await Promise.all(taking);
}

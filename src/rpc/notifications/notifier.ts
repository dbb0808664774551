/** Sending of events: the sender does not know the listeners (Nova: `notifier/api.py`). @module */
import type { ApplicationHeaders } from "../../contract/application_headers.ts";
import { checkEventType } from "../../contract/events.ts";
import type { ContextValues } from "../../contract/request_context.ts";
import { newId } from "../../ids.ts";
import { isSecret } from "../../redaction.ts";
import { InvalidValueError } from "../../errors.ts";
import { oneLine } from "../../logging.ts";
import { assertJson, type Notification } from "../../wire/mod.ts";
import { SentMessage } from "../telemetry/sent_message.ts";
import type { TracedMessage } from "../telemetry/spans.ts";
import { checkName } from "../../names.ts";
import {
  deliverToDrivers,
  type NotificationResources,
  type NotificationSettings,
  TOPIC,
} from "./drivers.ts";
import { checkNames, namesOf, type OptionNames } from "../../option_names.ts";
import { limitsOfCast, parentOf, valuesOf } from "../client/call_limits.ts";
import { sendNames, type SendOptions } from "../client/call_options.ts";
import { checkPriority, type NotificationPriority } from "./priority.ts";

/**
 * Options of `notify`.
 * @category Events
 */
export interface NotifyOptions extends SendOptions {
  /** Priority; default: the connection's, which is `info` unless set. */
  readonly priority?: NotificationPriority | undefined;
  /** Publisher as `service.host`; default: the connection's. */
  readonly publisherId?: string | undefined;
}

/** Names of {@linkcode NotifyOptions}. */
export const notifyNames: OptionNames = namesOf<
  Omit<NotifyOptions, keyof SendOptions>
>({ priority: true, publisherId: true }, sendNames);

const settingNames = namesOf<NotificationSettings>({
  drivers: true,
  priority: true,
  format: true,
  topics: true,
});

/**
 * Returns the name of a publisher of events (Nova: `publisher_id`).
 *
 * @throws {InvalidValueError} `service` or `host` is not a valid name.
 * @category Events
 */
export function publisherId(service: string, host: string): string {
  checkName("service", service);
  checkName("host", host);
  return `${service}.${host}`;
}

function wrong(path: string, value: unknown, allowed: string) {
  const text = `Invalid option notifications.${path} ${oneLine(value, 40)}`;
  return new InvalidValueError(`${text}: give ${allowed}`, {
    data: { path: `notifications.${path}` },
  });
}

/**
 * Checks settings of notifications.
 *
 * @throws {InvalidValueError} a setting is invalid; the message names it.
 */
export function checkNotificationSettings(
  settings: NotificationSettings = {},
): NotificationSettings {
  checkNames(settings, settingNames, "notifications.");
  const { drivers = [], priority, format = "1.0", topics = [] } = settings;
  for (const driver of drivers) {
    if (typeof driver === "function") continue;
    if (!["bus", "log", "none"].includes(driver)) {
      throw wrong("drivers", driver, "bus, log, none, or functions");
    }
  }
  if (priority !== undefined) checkPriority(priority);
  if (!["1.0", "2.0"].includes(format)) {
    throw wrong("format", format, "1.0 or 2.0");
  }
  for (const topic of topics) checkName("notifications.topics", topic);
  return settings;
}

/** Event with the arguments of `notify`. */
export interface NotifyRequest {
  /** Type of the event. */
  readonly eventType: string;
  /** Payload. */
  readonly payload: unknown;
  /** Options. */
  readonly options: NotifyOptions;
  /** Application headers. */
  readonly headers?: ApplicationHeaders | undefined;
}

/** Returns the time in Python's format of UTC times: `2026-11-22 10:33:35.514820`. */
function timestamp(): string {
  return new Date().toISOString().replace("T", " ").replace("Z", "000");
}

/** Sends an event to the drivers of the connection. */
export async function notify(
  resources: NotificationResources,
  { eventType, payload, options, headers }: NotifyRequest,
): Promise<void> {
  checkNames(options, notifyNames);
  const { settings, publisherId, openstack } = resources.defaults;
  const { priority: fallback = "info" } = settings;
  const priority = checkPriority(options.priority ?? fallback);
  checkEventType(eventType);
  assertJson(payload ?? null, "payload");
  const { deadline } = limitsOfCast(options);
  const values = valuesOf(options, parentOf(options));
  const event: Notification = {
    kind: "notification",
    id: newId(),
    messageId: crypto.randomUUID(),
    publisherId: options.publisherId ?? publisherId,
    eventType,
    priority: priority.toUpperCase(),
    payload,
    timestamp: timestamp(),
    context: filterContext(values, openstack),
  };
  const outgoing = { event, deadline, headers };
  if (!isForBus(settings)) return await deliverToDrivers(resources, outgoing);
  const sent = new SentMessage(tracedEvent(event, resources));
  const traced = { ...outgoing, headers: sent.inject(headers) };
  await sent.complete(() => deliverToDrivers(resources, traced));
}

/** True if events are sent to the broker. */
const isForBus = ({ drivers }: NotificationSettings): boolean =>
  drivers === undefined || drivers.includes("bus");

/** Returns an event as telemetry describes it, at the first of its topics. */
function tracedEvent(
  { id, eventType, priority }: Notification,
  { session, defaults: { settings } }: NotificationResources,
): TracedMessage {
  const { topics: [topic = TOPIC] = [] } = settings;
  const address = {
    kind: "event",
    topic,
    priority: priority.toLowerCase(),
  } as const;
  const verb = "notify";
  return { verb, topic, procedure: eventType, id, address, session };
}

/** Context values that oslo.messaging forwards (`notify/notifier.py`, `_sanitize_context`). */
const OPENSTACK: ReadonlySet<string> = new Set([
  ...["user_id", "project_id", "domain_id", "user_domain_id"],
  ...["project_domain_id", "is_admin", "request_id", "roles", "user_name"],
  ...["project_name", "domain_name", "user_domain_name"],
  ...["project_domain_name", "service_user_id", "service_user_domain_id"],
  ...["service_user_domain_name", "service_project_id"],
  ...["service_project_name", "service_project_domain_id"],
  ...["service_project_domain_name", "service_roles", "global_request_id"],
  ...["system_scope", "user", "domain", "user_domain", "project_domain"],
]);

/**
 * Selects the context values of an event: on an OpenStack bus, those that its listeners know; on other buses, all but
 * secrets.
 */
function filterContext(
  values: ContextValues,
  openstack: boolean,
): ContextValues {
  const passes = (key: string) =>
    openstack ? OPENSTACK.has(key) : !isSecret(key);
  return Object.fromEntries(
    Object.entries(values).filter(([key]) => passes(key)),
  );
}

/** Attempts at the events that a listener receives: handler, interceptors and span. @module */
import { logger, oneLine } from "../../logging.ts";
import { redactText } from "../../redaction.ts";
import {
  type RequestContext,
  requestContext,
} from "../../contract/request_context.ts";
import type { Delivery, Session } from "../../transport/transport.ts";
import { attemptOf, type Notification } from "../../wire/mod.ts";
import { applicationHeaders } from "../../contract/application_headers.ts";
import {
  intercept,
  type ServiceInterceptor,
  type ServiceRequest,
} from "../interceptors.ts";
import { runWithContext } from "../propagation.ts";
import {
  HandledMessage,
  recordCompletion,
} from "../telemetry/handled_message.ts";
import { eventLabel } from "../telemetry/known_procedures.ts";
import { recordOutcome } from "../telemetry/event_record.ts";
import { causeOf, type TracedDelivery } from "../telemetry/spans.ts";
import {
  type EventFailures,
  type EventOutcome,
  isRefused,
  requeue,
} from "./event_failures.ts";
import { argsOfPayload, payloadOfArgs } from "./intercepted_payload.ts";

/**
 * Result of a handler: nothing, or `"requeue"` for another delivery of the event (oslo.messaging: `NotificationResult`).
 * @category Events
 */
export type NotificationResult = void | "requeue";

/**
 * Handles an event, which is acknowledged when the handler returns. The option `retry` determines what follows if the
 * handler throws.
 * @category Events
 */
export type NotificationHandler = (
  event: Notification,
  context: RequestContext,
) => NotificationResult | Promise<NotificationResult>;

/** Handler of events, with its interceptors. */
export interface EventHandling {
  /** Topic of the events. */
  readonly topic: string;
  /** Handler. */
  readonly handler: NotificationHandler;
  /** Interceptors; undefined = none. */
  readonly interceptors: readonly ServiceInterceptor[] | undefined;
  /** Fires when the listener stops. */
  readonly signal: AbortSignal;
  /** Session that receives the events. */
  readonly session: Session;
  /** True if the spans of events have traces of their own, with links to their senders. */
  readonly linked: boolean;
}

/** Event that was received. */
export interface ReceivedEvent {
  /** The event. */
  readonly event: Notification;
  /** Delivery of the event. */
  readonly delivery: Delivery;
}

/** One attempt to handle an event. */
interface EventAttempt extends ReceivedEvent {
  readonly topic: string;
  readonly attempt: number;
  readonly lastAttempt: boolean;
}

/** Returns an attempt as telemetry describes it. */
function traced(
  { event, delivery, topic, attempt }: EventAttempt,
  { session, linked }: EventHandling,
): TracedDelivery {
  const { redelivered, message } = delivery;
  const priority = event.priority.toLowerCase();
  return {
    ...{ topic, attempt, redelivered, session, linked },
    address: { kind: "event", topic, priority },
    verb: "notify",
    procedure: event.eventType,
    id: event.id,
    cause: causeOf(message.headers, event.context),
  };
}

/** Handles an event: afterwards it is acknowledged, requeued, or passed to `failures`. Never rejects. */
export async function handleEvent(
  { delivery, event }: ReceivedEvent,
  handling: EventHandling,
  failures: EventFailures,
): Promise<void> {
  const { topic, signal } = handling;
  for (let attempt = attemptOf(delivery.message.headers);; attempt++) {
    const lastAttempt = failures.isLast(attempt);
    const current = { event, delivery, topic, attempt, lastAttempt };
    const handled = new HandledMessage(traced(current, handling));
    const startedAt = performance.now();
    const label = eventLabel(topic, event.eventType);
    const end = (outcome: EventOutcome | undefined) => {
      if (outcome) recordOutcome(handled, { topic, label, outcome });
      handled.end(performance.now() - startedAt, label);
    };
    try {
      const result = await handled.run(() => callHandler(current, handling));
      end(result === "requeue" ? "requeued" : undefined);
      if (result === "requeue") return await requeue(delivery, signal);
      recordCompletion(topic, label, timeOf(event));
      return delivery.ack();
    } catch (error) {
      handled.fail(error);
      const outcome = await failed(current, error, handling, failures);
      end(outcome);
      if (outcome !== "again") return;
    }
  }
}

/** Handles the error of an attempt. Never rejects. */
async function failed(
  { event, delivery, attempt }: EventAttempt,
  error: unknown,
  handling: EventHandling,
  failures: EventFailures,
): Promise<EventOutcome> {
  if (isRefused(error)) {
    return await refuse({ delivery, event }, error, handling, failures);
  }
  logger("rpc").error("The handler of {event} failed: {error}", {
    event: oneLine(event.eventType, 60),
    error,
  });
  return await failures.failed(delivery, error, attempt, handling.signal);
}

/** Returns the time of an event in epoch milliseconds; undefined if its sender gives none that can be read. */
function timeOf({ timestamp }: Notification): number | undefined {
  const time = Date.parse(`${timestamp.replace(" ", "T")}Z`);
  return Number.isNaN(time) ? undefined : time;
}

/** Gives up an event whose payload does not fit its contract. */
async function refuse(
  { delivery, event }: ReceivedEvent,
  { message }: Error,
  { signal }: EventHandling,
  failures: EventFailures,
): Promise<EventOutcome> {
  const reason = redactText(message);
  logger("rpc").warn("Refused an event {event}: {reason}", {
    event: oneLine(event.eventType, 60),
    reason,
  });
  return await failures.refused(delivery, reason, signal);
}

/** Calls the handler in the event's context, with the interceptors around it. */
async function callHandler(
  { event, delivery, topic, attempt, lastAttempt }: EventAttempt,
  { handler, interceptors, signal }: EventHandling,
): Promise<unknown> {
  const context: RequestContext = {
    ...requestContext(event.context),
    signal,
    requestId: event.id ?? event.messageId,
    attempt,
    lastAttempt,
  };
  if (!interceptors) {
    return await runWithContext(context, () => handler(event, context));
  }
  const { payload } = event;
  const request: ServiceRequest = {
    kind: "notification",
    topic,
    procedure: event.eventType,
    version: undefined,
    args: argsOfPayload(payload), // a copy: there may be another attempt
    headers: applicationHeaders(delivery.message.headers),
    attempt,
    context,
  };
  return await runWithContext(
    context,
    () =>
      intercept(interceptors, request, async ({ args }) => {
        const changed = payloadOfArgs(payload, args);
        return await handler({ ...event, payload: changed }, context);
      }),
  );
}

/** Handlers for the events of a contract. @module */
import {
  checkEvents,
  type EventContract,
  type EventPayload,
  type EventType,
  parsePayload,
  schemaOf,
} from "../../contract/events.ts";
import type { RequestContext } from "../../contract/request_context.ts";
import { InvalidValueError } from "../../errors.ts";
import { oneLine } from "../../logging.ts";
import { isPlain } from "../../option_names.ts";
import type { Notification } from "../../wire/mod.ts";
import type {
  NotificationHandler,
  NotificationResult,
} from "./event_handling.ts";
import { markRefused } from "./event_failures.ts";

/**
 * Event of a contract, whose payload was checked and transformed by its schema.
 * @category Events
 */
export interface EventOf<E extends EventContract, K extends EventType<E>>
  extends Omit<Notification, "eventType" | "payload"> {
  /** Type of the event. */
  readonly eventType: K;
  /** Data of the event: the output of its schema. */
  readonly payload: EventPayload<E, K>;
}

/**
 * Handlers for some or all events of a contract, by the types of the events. Events without a handler are acknowledged
 * and dropped.
 * @category Events
 */
export type EventHandlers<E extends EventContract> = {
  readonly [K in EventType<E>]?:
    | ((
      event: EventOf<E, K>,
      context: RequestContext,
    ) => NotificationResult | Promise<NotificationResult>)
    | undefined;
};

/** Handler of some events. */
export interface SelectiveHandler {
  /** True for the types of the events that the handler gets. */
  readonly matches: (eventType: string) => boolean;
  /** Handler. */
  readonly handler: NotificationHandler;
}

function invalid(path: string, text: string): InvalidValueError {
  return new InvalidValueError(`Invalid handlers: ${text}`, { data: { path } });
}

/**
 * Returns the handlers by the types of their events.
 *
 * @throws {InvalidValueError} one is no function, there is none, or an event is not in the contract.
 */
function checkHandlers(
  contract: EventContract,
  handlers: Readonly<Record<string, NotificationHandler | undefined>>,
): ReadonlyMap<string, NotificationHandler> {
  if (typeof handlers !== "object" || handlers === null || !isPlain(handlers)) {
    throw invalid("", "give a plain record of functions by event types");
  }
  const checked = new Map<string, NotificationHandler>();
  for (const [eventType, handler] of Object.entries(handlers)) {
    schemaOf(contract, eventType);
    if (handler === undefined) continue;
    if (typeof handler !== "function") {
      const displayed = oneLine(eventType, 60);
      throw invalid(displayed, `${displayed} is not a function`);
    }
    checked.set(eventType, handler);
  }
  if (checked.size > 0) return checked;
  throw invalid("", "give a function for at least one event");
}

/**
 * Makes one handler of those of a contract. It parses the payload of each event; an event whose payload does not fit is
 * refused.
 *
 * @throws {InvalidValueError} the contract or a handler is invalid.
 */
export function handlerOf(
  contract: EventContract,
  handlers: EventHandlers<EventContract>,
): SelectiveHandler {
  checkEvents(contract);
  const known = checkHandlers(contract, handlers);
  return {
    matches: (eventType) => known.has(eventType),
    handler: async (event, context) => {
      const { eventType } = event;
      const payload = await parsePayload(contract, eventType, event.payload)
        .catch(throwRefused);
      return await known.get(eventType)?.({ ...event, payload }, context);
    },
  };
}

/** Throws an error of a schema again; an invalid payload will not become valid, so there is no other attempt. */
function throwRefused(error: unknown): never {
  if (error instanceof InvalidValueError) markRefused(error);
  throw error;
}

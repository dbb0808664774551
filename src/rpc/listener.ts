/** The other end of `notify` (Nova: notification listeners). @module */
import { pause, within } from "../wait.ts";
import { ConnectionDisposedError, InvalidValueError } from "../errors.ts";
import type { Queue, Route } from "../bus/routes.ts";
import { log, oneLine } from "../telemetry.ts";
import type { Delivery, Wait } from "../bus/transport.ts";
import { decode } from "../wire/codec.ts";
import type { Notification } from "../wire/envelope.ts";
import { type RequestContext, requestContext } from "./context.ts";
import { serve } from "./inheritance.ts";
import { checkName, checkTopic } from "./names.ts";
import { type NotificationParts, TOPIC } from "./notification_drivers.ts";
import { checkNames, namesOf } from "./option_names.ts";
import { checkPriority, priorities, type Priority } from "./priority.ts";

/** Options of `createListener`. */
export interface ListenerOptions {
  /**
   * Only events of this type; `*` stands for any characters. Others are acknowledged and dropped: listeners that want
   * different events need pools of their own.
   */
  readonly eventType?: string | undefined;
  /** Topic of the events; default `notifications`. Nova's versioned ones have `versioned_notifications`. */
  readonly topic?: string | undefined;
  /** Only this priority; default: all. */
  readonly priority?: Priority | undefined;
  /**
   * Listeners with one name share the events; each name gets all of them. Default: one pool for all. As in
   * oslo.messaging, the name is that of the pool's queue: choose one that is no topic.
   */
  readonly pool?: string | undefined;
  /**
   * Queues of its own, gone with it: it gets all events from now on, and takes none from others. Default false. Without a
   * pool.
   */
  readonly exclusive?: boolean | undefined;
}

/** Names of {@linkcode ListenerOptions}. */
const listenerNames = namesOf<ListenerOptions>({
  eventType: true,
  topic: true,
  priority: true,
  pool: true,
  exclusive: true,
});

/** What becomes of an event: nothing more, or it comes again (oslo.messaging: `NotificationResult`). */
export type Handled = void | "requeue";

/** Handles an event; acknowledged when it returns. If it returns `"requeue"` or throws, the event comes again. */
export type NotificationHandler = (
  event: Notification,
  context: RequestContext,
) => Handled | Promise<Handled>;

/** Events that a listener has in hand at most. */
const PREFETCH = 64;
/** Milliseconds before an event whose handler threw twice comes again. */
const RETRY = 1_000;

/** A test for event types, in which `*` stands for any characters. It takes linear time, since strangers send event types. */
export function matcher(
  pattern: string | undefined,
): (type: string) => boolean {
  if (pattern === undefined) return () => true;
  const [first = "", ...rest] = pattern.split("*");
  const last = rest.pop();
  if (last === undefined) return (type) => type === first;
  return (type) => {
    if (!type.startsWith(first) || !type.endsWith(last)) return false;
    let at = first.length;
    for (const part of rest) {
      const found = type.indexOf(part, at); // the leftmost place leaves most to the others
      if (found < 0) return false;
      at = found + part.length;
    }
    return at + last.length <= type.length;
  };
}

async function handle(
  delivery: Delivery,
  event: Notification,
  handler: NotificationHandler,
  signal: AbortSignal,
): Promise<void> {
  const context = {
    ...requestContext(event.context),
    signal,
    requestId: event.id ?? event.messageId,
  };
  try {
    const handled = await serve(context, () => handler(event, context));
    if (handled !== "requeue") return delivery.ack();
  } catch (error) {
    log("rpc").error("The handler of {event} failed: {error}", {
      event: oneLine(event.eventType, 60),
      error,
    });
  }
  // Not at once a second time: a handler that always fails must not turn in circles.
  const wait = { deadline: Infinity, signal };
  if (delivery.redelivered) await pause(RETRY, wait).catch(() => {});
  delivery.reject(true);
}

/** A queue of one listener alone. */
function exclusive(name: string): Queue {
  const own = { durable: false, exclusive: true, autoDelete: true } as const;
  return { name: `${name}_listener`, ...own, arguments: {}, fresh: true };
}

/** The routes of the priorities that are wanted, each with the queue that the listener reads. */
function routesOf(
  { routes }: NotificationParts,
  { pool, topic = TOPIC, priority, exclusive: own }: ListenerOptions,
): readonly Route[] {
  if (pool !== undefined) checkName("pool", pool);
  checkTopic(topic);
  if (own && pool !== undefined) {
    throw new InvalidValueError(
      `Invalid option exclusive true: the pool ${pool} is shared; give one of them`,
      { data: { path: "exclusive" } },
    );
  }
  const chosen = priority === undefined
    ? priorities
    : [checkPriority(priority)];
  return chosen.map((priority) => {
    const route = routes.notify(topic, priority);
    if (own) return { ...route, queue: exclusive(route.key) };
    if (pool === undefined || !route.queue) return route;
    return { ...route, queue: { ...route.queue, name: pool } };
  });
}

/**
 * Consumes events; resolves when it does, to how to stop: that resolves when no event is in hand, or after `grace`
 * milliseconds; what is in hand then comes again, to this listener or another.
 */
export async function listen(
  parts: NotificationParts,
  handler: NotificationHandler,
  options: ListenerOptions,
  wait: Wait,
): Promise<(grace: number) => Promise<void>> {
  checkNames(options, listenerNames);
  const { pool } = options;
  const wanted = matcher(options.eventType);
  const inHand = new Set<Promise<void>>();
  const ending = new AbortController();
  const receive = (delivery: Delivery) => {
    const decoded = decode(
      delivery.message.body,
      delivery.message.headers,
      parts.limits,
    );
    const event = "message" in decoded ? decoded.message : undefined;
    if (event?.kind !== "notification") {
      log("rpc").warn("Refused a message for {key}: no notification", {
        key: oneLine(delivery.key, 60),
      });
      return delivery.reject(false);
    }
    if (!wanted(event.eventType)) return delivery.ack();
    const work = handle(delivery, event, handler, ending.signal)
      .finally(() => inHand.delete(work));
    inHand.add(work);
  };
  const routes = routesOf(parts, options);
  for (const route of routes) await parts.transport.declare(route, wait);
  const consumed = pool === undefined ? routes : routes.slice(0, 1); // one queue for all
  const consumers = await Promise.all(
    consumed.map((route) =>
      parts.transport.consume(route, receive, { prefetch: PREFETCH }, wait)
    ),
  );
  return async (grace) => {
    await Promise.all(consumers.map((consumer) => consumer.cancel()));
    const end = { deadline: performance.now() + grace };
    await within(Promise.all(inHand), end, () => undefined).catch(() => {});
    ending.abort(new ConnectionDisposedError("The listener stops"));
  };
}

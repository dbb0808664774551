/** The other end of `notify` (Nova: notification listeners). @module */
import { pause, within } from "../wait.ts";
import { ConnectionDisposedError } from "../errors.ts";
import { log, oneLine } from "../telemetry.ts";
import type { Delivery, Wait } from "../bus/transport.ts";
import { decode } from "../wire/codec.ts";
import type { Notification } from "../wire/envelope.ts";
import { type RequestContext, requestContext, serve } from "./context.ts";
import { checkName } from "./names.ts";
import {
  checkPriority,
  type NotificationParts,
  priorities,
  type Priority,
  TOPIC,
} from "./notifications.ts";

/** Options of `createListener`. */
export interface ListenerOptions {
  /**
   * Only events of this type; `*` stands for any characters. Others are acknowledged and dropped: listeners that want
   * different events need pools of their own.
   */
  readonly eventType?: string | undefined;
  /** Only this priority; default: all. */
  readonly priority?: Priority | undefined;
  /**
   * Listeners with one name share the events; each name gets all of them. Default: one pool for all. As in
   * oslo.messaging, the name is that of the pool's queue: choose one that is no topic.
   */
  readonly pool?: string | undefined;
}

/** Handles an event; acknowledged when it returns. If it throws, the event comes again. */
export type NotificationHandler = (
  event: Notification,
  context: RequestContext,
) => void | Promise<void>;

/** Events that a listener has in hand at most. */
const PREFETCH = 64;
/** Milliseconds before an event whose handler threw twice comes again. */
const RETRY = 1_000;

function matcher(pattern: string | undefined): (type: string) => boolean {
  if (pattern === undefined) return () => true;
  const source = pattern.split("*").map((part) =>
    part.replace(/[\\^$.+?()[\]{}|]/g, "\\$&")
  ).join(".*");
  const regex = new RegExp(`^${source}$`, "s");
  return (type) => regex.test(type);
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
    await serve(context, () => handler(event, context));
    delivery.ack();
  } catch (error) {
    log("rpc").error("The handler of {event} failed: {error}", {
      event: oneLine(event.eventType, 60),
      error,
    });
    // Not at once a second time: a handler that always fails must not turn in circles.
    if (delivery.redelivered) await pause(RETRY, { deadline: Infinity });
    delivery.reject(true);
  }
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
  if (options.pool !== undefined) checkName("pool", options.pool);
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
  const chosen = options.priority === undefined
    ? priorities
    : [checkPriority(options.priority)];
  const routes = chosen.map((priority) => {
    const route = parts.routes.notify(TOPIC, priority);
    return options.pool === undefined || !route.queue
      ? route
      : { ...route, queue: { ...route.queue, name: options.pool } };
  });
  for (const route of routes) await parts.transport.declare(route, wait);
  const consumed = options.pool === undefined ? routes : routes.slice(0, 1); // one queue for all
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

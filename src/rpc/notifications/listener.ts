/** The other end of `notify` (Nova: notification listeners). @module */
import { withDeadline } from "../../async/deadline.ts";
import { ConnectionDisposedError, InvalidValueError } from "../../errors.ts";
import { type EventAddress, publishKey } from "../../transport/address.ts";
import { logger, oneLine } from "../../logging.ts";
import type { Deadline, Delivery } from "../../transport/transport.ts";
import { decode } from "../../wire/mod.ts";
import type { RetryPolicy } from "../../contract/types.ts";
import { Republisher } from "../retries/republisher.ts";
import { EventFailures } from "./event_failures.ts";
import { handleEvent, type NotificationHandler } from "./event_handling.ts";
import { checkInterceptors, type ServiceInterceptor } from "../interceptors.ts";
import { checkPool, checkTopic } from "../../names.ts";
import { type NotificationResources, TOPIC } from "./drivers.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import {
  checkPriority,
  type NotificationPriority,
  priorities,
} from "./priority.ts";
import { retryPolicyError } from "../../contract/retry_policy.ts";

/** Stops a listener; resolves when no event is in hand, or at a deadline in milliseconds of `performance.now()`. */
export type StopListener = (deadline: number) => Promise<void>;

/**
 * Options of `createListener`.
 * @category Events
 */
export interface ListenerOptions {
  /**
   * Only events of this type; `*` stands for any characters. Others are acknowledged and dropped: listeners that want
   * different events need pools of their own.
   */
  readonly eventType?: string | undefined;
  /** Topic of the events; default `notifications`. Nova's versioned ones have `versioned_notifications`. */
  readonly topic?: string | undefined;
  /** Only this priority; default: all. */
  readonly priority?: NotificationPriority | undefined;
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
  /**
   * Attempts at an event whose handler throws, and the waits between them, as those of a cast; default: 6, within 13 minutes.
   * After the last one it is a dead letter in `<queue>.dead`. An exclusive listener tries again after a second at most, and drops
   * it then. With the profile `nova` an event comes again until it is handled.
   */
  readonly retry?: RetryPolicy | undefined;
  /** Functions around the handler, the first outermost; default: none. */
  readonly interceptors?: readonly ServiceInterceptor[] | undefined;
}

/** Names of {@linkcode ListenerOptions}. */
const listenerNames = namesOf<ListenerOptions>({
  eventType: true,
  topic: true,
  priority: true,
  pool: true,
  exclusive: true,
  retry: true,
  interceptors: true,
});

/** Events that a listener has in hand at most. */
const PREFETCH = 64;

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

/** The addresses of the priorities that are listened to. */
function addressesOf(
  { pool, topic = TOPIC, priority, exclusive }: ListenerOptions,
): readonly EventAddress[] {
  checkTopic(topic);
  if (exclusive && pool !== undefined) {
    throw new InvalidValueError(
      `Invalid option exclusive true: the pool ${pool} is shared; give one of them`,
      { data: { path: "exclusive" } },
    );
  }
  const chosen = priority === undefined
    ? priorities
    : [checkPriority(priority)];
  return chosen.map((priority) => {
    const address: EventAddress = {
      kind: "event",
      topic,
      priority,
      pool,
      exclusive,
    };
    if (pool !== undefined) checkPool(publishKey(address), pool);
    return address;
  });
}

function checkRetry(retry: RetryPolicy | undefined): void {
  const wrong = retryPolicyError({ retry });
  if (wrong === undefined) return;
  throw new InvalidValueError(`Invalid option retry${wrong}`, {
    data: { path: "retry" },
  });
}

/**
 * Consumes events; resolves when it does, to how to stop: that resolves when no event is in hand, or at its deadline;
 * what is in hand then comes again, to this listener or another.
 */
export async function startListener(
  resources: NotificationResources,
  handler: NotificationHandler,
  options: ListenerOptions,
  deadline: Deadline,
): Promise<StopListener> {
  checkNames(options, listenerNames);
  const { retry } = options;
  checkRetry(retry);
  const { pool, topic = TOPIC } = options;
  const interceptors = checkInterceptors(options.interceptors);
  const wanted = matcher(options.eventType);
  const inHand = new Set<Promise<void>>();
  const ending = new AbortController();
  const { signal } = ending;
  const handling = { topic, handler, interceptors, signal };
  const republisher = new Republisher(resources.session);
  const { openstack } = resources.defaults;
  const keep = (work: Promise<void>) => {
    const kept = work.finally(() => inHand.delete(kept));
    inHand.add(kept);
  };
  const receiver = (failures: EventFailures) => (delivery: Delivery) => {
    const { message } = delivery;
    const { body, headers } = message;
    const decoded = decode(body, headers, resources.limits, message);
    const event = "message" in decoded ? decoded.message : undefined;
    if (event?.kind !== "notification") {
      logger("rpc").warn("Refused a message for {key}: no notification", {
        key: oneLine(delivery.key, 60),
      });
      const reason = "no notification where events are handled";
      return keep(failures.refused(delivery, reason, ending.signal));
    }
    if (!wanted(event.eventType)) return delivery.ack();
    keep(handleEvent({ delivery, event }, handling, failures));
  };
  const { session } = resources;
  const addresses = addressesOf(options);
  for (const each of addresses) await session.declare(each, deadline);
  const consumed = pool === undefined ? addresses : addresses.slice(0, 1); // one queue for all
  const consumers = await Promise.all(
    consumed.map((queue) => {
      const treatment = { queue, openstack, retry };
      const failures = new EventFailures(republisher, treatment);
      const receive = receiver(failures);
      const limit = { bytes: resources.limits.bytes, allowWhole: !openstack };
      const options = { prefetch: PREFETCH, limit };
      return session.consume(queue, receive, options, deadline);
    }),
  );
  return async (deadline) => {
    await Promise.all(consumers.map((consumer) => consumer.cancel(deadline)));
    const all = Promise.all(inHand);
    await withDeadline(all, { at: deadline }, () => undefined).catch(() => {});
    ending.abort(new ConnectionDisposedError("The listener stops"));
  };
}

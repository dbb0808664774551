/** Listeners: the consumers of notifications (Nova: notification listeners). @module */
import { withDeadline } from "../../async/deadline.ts";
import { ConnectionDisposedError, InvalidValueError } from "../../errors.ts";
import { type EventAddress, publishKey } from "../../transport/address.ts";
import { logger, oneLine } from "../../logging.ts";
import { isNearDeliveryLimit } from "../../transport/delivery_limit.ts";
import type {
  Consumer,
  Deadline,
  Delivery,
} from "../../transport/transport.ts";
import { decode } from "../../wire/mod.ts";
import type { RetryPolicy } from "../../contract/types.ts";
import {
  checkDeadLetterListener,
  type DeadLetterListener,
} from "../letters/dead_letter_listener.ts";
import { DeadLetterSender } from "../retries/dead_letter_sender.ts";
import { Republisher } from "../retries/republisher.ts";
import { checkRetry, EventFailures } from "./event_failures.ts";
import {
  type EventHandling,
  handleEvent,
  type NotificationHandler,
} from "./event_handling.ts";
import {
  type EventHandlers,
  handlerOf,
  type SelectiveHandler,
} from "./typed_handlers.ts";
import type { EventContract } from "../../contract/events.ts";
import { recordRefused } from "../telemetry/event_record.ts";
import { checkInterceptors, type ServiceInterceptor } from "../interceptors.ts";
import { checkPool, checkTopic } from "../../names.ts";
import { matcher } from "./event_pattern.ts";
import { type NotificationResources, TOPIC } from "./drivers.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import {
  checkPriority,
  type NotificationPriority,
  priorities,
} from "./priority.ts";

/** Stops a listener; resolves when no event is active, or at a deadline in milliseconds of `performance.now()`. */
export type StopListener = (deadline: number) => Promise<void>;

/**
 * Options of `createListener`.
 * @category Events
 */
export interface ListenerOptions {
  /**
   * Pattern of event types; `*` stands for any characters. Other events are acknowledged and dropped, so listeners for different
   * events need pools of their own. Default: all types.
   */
  readonly eventType?: string | undefined;
  /**
   * Topic of the events; default `notifications`. Nova's versioned notifications have the topic
   * `versioned_notifications`.
   */
  readonly topic?: string | undefined;
  /** Priority of the events; default: all. */
  readonly priority?: NotificationPriority | undefined;
  /**
   * Pool: listeners of one pool share the events, and each pool gets all events. Default: one pool for all listeners.
   * As in oslo.messaging, the name is also the name of the pool's queue, so it must not be the name of a topic.
   */
  readonly pool?: string | undefined;
  /**
   * True to consume queues of its own, which are deleted with the listener: it gets all events that are sent from now
   * on, without a share in the queues of other listeners. Default false; not possible with a pool.
   */
  readonly exclusive?: boolean | undefined;
  /**
   * Retry policy for an event whose handler throws; default: 6 attempts within 13 minutes. After the last attempt the
   * event becomes a dead letter in `<queue>.dead`. An exclusive listener waits at most 1000 ms between attempts, and
   * drops the event after the last one. With the profile `nova`, an event is requeued until it is handled.
   */
  readonly retry?: RetryPolicy | undefined;
  /** Called with each event that this listener has made a dead letter; default: the option of the connection. */
  readonly onDeadLetter?: DeadLetterListener | undefined;
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
  onDeadLetter: true,
  interceptors: true,
});

/**
 * Options of `createListener` with the events of a contract: the types of its handlers choose the events.
 * @category Events
 */
export type EventListenerOptions = Omit<ListenerOptions, "eventType">;

const eventListenerNames = new Set(listenerNames);
eventListenerNames.delete("eventType");

/** Arguments of `createListener`: a handler for all events, or handlers for those of a contract. */
export type ListenerArgs =
  | readonly [handler: NotificationHandler, options?: ListenerOptions]
  | readonly [
    events: EventContract,
    handlers: EventHandlers<EventContract>,
    options?: EventListenerOptions,
  ];

/**
 * Returns the handler of a listener and its options.
 *
 * @throws {InvalidValueError} an option is unknown, or a contract or its handlers are invalid.
 */
function listenerOf(
  args: ListenerArgs,
): SelectiveHandler & { readonly options: ListenerOptions } {
  const [first, second = {}, third = {}] = args;
  if (typeof first !== "function") {
    checkNames(third, eventListenerNames);
    const handlers = second as EventHandlers<EventContract>;
    return { ...handlerOf(first, handlers), options: third };
  }
  const options = second as ListenerOptions;
  checkNames(options, listenerNames);
  return { handler: first, matches: matcher(options.eventType), options };
}

/** Maximum number of unacknowledged events of a consumer. */
const PREFETCH = 64;

/** Returns the addresses of the priorities that a listener consumes. */
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

/**
 * Starts a listener; resolves when it consumes. The returned function stops the listener, and resolves when no event is
 * active, or at its deadline. Events that are still active then are delivered again.
 */
export async function startListener(
  resources: NotificationResources,
  args: ListenerArgs,
  deadline: Deadline,
): Promise<StopListener> {
  const { handler, matches, options } = listenerOf(args);
  const { pool, topic = TOPIC, retry } = options;
  checkRetry(retry);
  checkDeadLetterListener(options.onDeadLetter);
  const interceptors = checkInterceptors(options.interceptors);
  const { session, defaults: { linksCasts: linked } } = resources;
  const handling = { topic, handler, interceptors, session, linked };
  const listener = new EventListener(resources, handling, {
    ...options,
    matches,
  });
  const addresses = addressesOf(options);
  for (const each of addresses) await session.declare(each, deadline);
  await session.waitForNewQueues(deadline);
  // A pool has one queue for all priorities.
  const queues = pool === undefined ? addresses : addresses.slice(0, 1);
  await listener.consume(queues, deadline);
  return (deadline) => listener.stop(deadline);
}

/** Consumers of a listener, and the events that its handler has not finished. */
class EventListener {
  readonly #resources: NotificationResources;
  readonly #handling: EventHandling;
  readonly #matches: (type: string) => boolean;
  readonly #retry: RetryPolicy | undefined;
  readonly #republisher: Republisher;
  readonly #deadLetters: DeadLetterSender;
  readonly #active = new Set<Promise<unknown>>();
  readonly #stopping = new AbortController();
  #consumers: readonly Consumer[] = [];

  constructor(
    resources: NotificationResources,
    handling: Omit<EventHandling, "signal">,
    { matches, retry, onDeadLetter }:
      & Pick<SelectiveHandler, "matches">
      & Pick<ListenerOptions, "retry" | "onDeadLetter">,
  ) {
    const { limits, defaults: { deadLetters } } = resources;
    this.#resources = resources;
    this.#handling = { ...handling, signal: this.#stopping.signal };
    this.#matches = matches;
    this.#retry = retry;
    this.#republisher = new Republisher(resources.session);
    this.#deadLetters = new DeadLetterSender(
      this.#republisher,
      onDeadLetter ? { ...deadLetters, onDeadLetter } : deadLetters,
      limits,
    );
  }

  /** Consumes the queues of the listener. */
  async consume(
    queues: readonly EventAddress[],
    deadline: Deadline,
  ): Promise<void> {
    const { session, limits, defaults: { openstack } } = this.#resources;
    const limit = { bytes: limits.bytes, allowWhole: !openstack };
    this.#consumers = await Promise.all(queues.map((queue) => {
      const treatment = { queue, openstack, retry: this.#retry };
      const failures = new EventFailures(
        this.#republisher,
        treatment,
        this.#deadLetters,
      );
      const receive = (delivery: Delivery) =>
        isNearDeliveryLimit(delivery)
          ? this.#track(this.#replace(delivery, queue, failures))
          : this.#receive(delivery, failures);
      const options = { prefetch: PREFETCH, limit };
      return session.consume(queue, receive, options, deadline);
    }));
  }

  /** Replaces an event that the broker might drop after more deliveries; handles it if the broker takes no copy. */
  async #replace(
    delivery: Delivery,
    queue: EventAddress,
    failures: EventFailures,
  ): Promise<void> {
    const replaced = await this.#republisher.replace(delivery, queue);
    if (!replaced) this.#receive(delivery, failures);
  }

  #receive(delivery: Delivery, failures: EventFailures): void {
    const { body, headers } = delivery.message;
    const { limits } = this.#resources;
    const decoded = decode(body, headers, limits, delivery.message);
    const event = "message" in decoded ? decoded.message : undefined;
    if (event?.kind !== "notification") {
      logger("rpc").warn("Refused a message for {key}: no notification", {
        key: oneLine(delivery.key, 60),
      });
      const reason = "no notification where events are handled";
      const { signal } = this.#stopping;
      recordRefused(this.#handling.topic);
      return this.#track(failures.refused(delivery, reason, signal));
    }
    if (!this.#matches(event.eventType)) return delivery.ack();
    this.#track(handleEvent({ delivery, event }, this.#handling, failures));
  }

  #track(work: Promise<unknown>): void {
    const active: Promise<unknown> = work.finally(() =>
      this.#active.delete(active)
    );
    this.#active.add(active);
  }

  /** Cancels the consumers, and waits for active events until the deadline, in milliseconds of `performance.now()`. */
  async stop(deadline: number): Promise<void> {
    await Promise.all(
      this.#consumers.map((consumer) => consumer.cancel(deadline)),
    );
    const all = Promise.all(this.#active);
    await withDeadline(all, { at: deadline }, () => undefined).catch(() => {});
    this.#stopping.abort(new ConnectionDisposedError("The listener stops"));
  }
}

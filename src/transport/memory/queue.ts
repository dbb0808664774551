/** Queue of the in-process broker: order, prefetch, expiration, redelivery. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import { TopologyError } from "../../errors.ts";
import { SlotMap } from "../../slot_map.ts";
import { WaitingReserve } from "../waiting_reserve.ts";
import type { QueueSettings } from "./queue_settings.ts";
import type { ConsumeOptions, Delivery, Message } from "../transport.ts";

/** The session that created a queue. */
export type Owner = object;

interface QueuedMessage {
  readonly message: Message;
  readonly key: string;
  /** Position in the queue, which a requeued message keeps. */
  readonly order: number;
  /** Time at which the message expires, in milliseconds of `performance.now()`. */
  readonly expires: number;
  redelivered: boolean;
}

interface Subscriber {
  readonly owner: Owner;
  readonly onDelivery: (delivery: Delivery) => void;
  readonly options: ConsumeOptions;
  readonly unsettled: SlotMap<QueuedMessage>;
  readonly reserve: WaitingReserve;
  readonly ended: PromiseWithResolvers<void>;
  /** Number of unsettled deliveries that do not count against the prefetch. */
  exempt: number;
  /** True once the consumer is closed and its unsettled messages are requeued. */
  closed: boolean;
}

/** Listener of a queue, implemented by its broker. */
export interface QueueListener {
  /** Called when the queue has been removed. */
  removed(): void;
  /** Called with a message that has expired; `key` is the name of the queue that the message moves to. */
  deadLetter(key: string, message: Message): void;
}

/** Handle of a consumer. */
export interface MemoryConsumer {
  /** Resolves when the consumer has ended, or its queue has been removed. */
  readonly ended: Promise<void>;
  /** Number of unsettled deliveries. */
  readonly unsettled: number;
  /** Stops deliveries; unsettled deliveries can still be settled. */
  cancel(): void;
  /** Ends the consumer as a lost channel would: requeues its unsettled messages. */
  close(): void;
}

/** A queue with its messages and consumers. */
export class MemoryQueue {
  /** Name of the queue. */
  readonly name: string;
  /** Settings with which the queue was declared. */
  readonly settings: QueueSettings;
  /** Session that declared the queue. */
  readonly owner: Owner;
  readonly #listener: QueueListener;
  #expiryTimer: Timer | undefined;
  #items: QueuedMessage[] = [];
  /** Consumers in round-robin order; the first is served next. */
  #subscribers: Subscriber[] = [];
  #order = 0;
  #scheduled = false;
  #removed = false;

  /** Created by the broker. */
  constructor(
    name: string,
    settings: QueueSettings,
    owner: Owner,
    events: QueueListener,
  ) {
    this.name = name;
    this.settings = settings;
    this.owner = owner;
    this.#listener = events;
  }

  /** Number of consumers. */
  get consumers(): number {
    return this.#subscribers.length;
  }

  /** Number of ready messages. */
  get messages(): number {
    this.#expire();
    return this.#items.length;
  }

  /** Adds a message. */
  push(message: Message, key: string): void {
    const { ttl = Infinity } = this.settings;
    const age = Math.min(message.expiration ?? Infinity, ttl);
    const expires = performance.now() + age;
    this.#insert({
      message,
      key,
      order: this.#order++,
      expires,
      redelivered: false,
    });
    this.#expire();
    this.#scheduleDelivery();
  }

  /**
   * Adds a consumer.
   *
   * @throws {TopologyError} the queue has an exclusive consumer, or `options.exclusive` is set and the queue has a
   * consumer.
   */
  consume(
    owner: Owner,
    onDelivery: (delivery: Delivery) => void,
    options: ConsumeOptions,
    reserve: WaitingReserve = new WaitingReserve(),
  ): MemoryConsumer {
    const inUse =
      this.#subscribers.some((subscriber) => subscriber.options.exclusive) ||
      (options.exclusive && this.consumers > 0);
    if (inUse) {
      throw new TopologyError(
        `Cannot consume ${this.name}: it is in exclusive use`,
        { data: { entity: `queue ${this.name}`, reason: "inUse" } },
      );
    }
    const subscriber: Subscriber = {
      owner,
      onDelivery,
      options,
      unsettled: new SlotMap(),
      reserve,
      ended: Promise.withResolvers(),
      exempt: 0,
      closed: false,
    };
    this.#subscribers.push(subscriber);
    this.#scheduleDelivery();
    return {
      ended: subscriber.ended.promise,
      get unsettled() {
        return subscriber.unsettled.size;
      },
      cancel: () => this.#unsubscribe(subscriber),
      close: () => this.#close(subscriber),
    };
  }

  /** Removes the queue with its messages. */
  remove(): void {
    if (this.#removed) return;
    this.#removed = true;
    this.#items = [];
    this.#armExpiryTimer();
    for (const { ended } of this.#subscribers) ended.resolve();
    this.#subscribers = [];
    this.#listener.removed();
  }

  #insert(item: QueuedMessage): void {
    if (this.#removed) return;
    let at = this.#items.length;
    while (
      at > 0 && (this.#items[at - 1] as QueuedMessage).order > item.order
    ) at--;
    this.#items.splice(at, 0, item);
    const { maxLength = Infinity } = this.settings;
    if (this.#items.length > maxLength) this.#items.shift();
  }

  /** Drops or dead-letters expired messages at the head of the queue, as RabbitMQ does. */
  #expire(): void {
    const now = performance.now();
    while ((this.#items[0]?.expires ?? Infinity) <= now) {
      this.#deadLetter(this.#items.shift() as QueuedMessage);
    }
    this.#armExpiryTimer();
  }

  #deadLetter({ message: { expiration: _, ...message } }: QueuedMessage): void {
    const { deadLetterTo } = this.settings;
    if (deadLetterTo) this.#listener.deadLetter(deadLetterTo, message);
  }

  /** Sets the timer for the expiration of the first message. */
  #armExpiryTimer(): void {
    if (this.#expiryTimer) clearDeadline(this.#expiryTimer);
    this.#expiryTimer = undefined;
    const [first] = this.#items;
    if (!first || !this.settings.deadLetterTo) return;
    this.#expiryTimer = setDeadline(first.expires, () => this.#expire());
  }

  #unsubscribe(subscriber: Subscriber): void {
    subscriber.ended.resolve();
    this.#subscribers = this.#subscribers.filter((other) =>
      other !== subscriber
    );
    if (this.settings.transient && this.consumers === 0) this.remove();
  }

  #close(subscriber: Subscriber): void {
    subscriber.closed = true;
    for (const item of subscriber.unsettled) this.#requeue(item);
    subscriber.unsettled.clear();
    this.#unsubscribe(subscriber);
    this.#scheduleDelivery();
  }

  #requeue(item: QueuedMessage): void {
    item.redelivered = true;
    this.#insert(item);
  }

  /** Delivers in a microtask: as with a network, a delivery never runs inside the publisher's call. */
  #scheduleDelivery(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    for (this.#expire(); this.#items.length > 0; this.#expire()) {
      const subscriber = this.#nextSubscriber();
      if (!subscriber) return;
      const item = this.#items.shift() as QueuedMessage;
      subscriber.onDelivery(this.#delivery(subscriber, item));
    }
  }

  /** Returns the subscriber whose turn it is; undefined if none may get another message. */
  #nextSubscriber(): Subscriber | undefined {
    const { singleActive } = this.settings;
    const isFree = ({ unsettled, exempt, options: { prefetch } }: Subscriber) =>
      prefetch === 0 || unsettled.size - exempt < prefetch;
    const subscriber = singleActive
      ? this.#subscribers.slice(0, 1).find(isFree)
      : this.#subscribers.find(isFree);
    if (subscriber && !singleActive) {
      this.#subscribers = this.#subscribers.filter((each) =>
        each !== subscriber
      ).concat(subscriber);
    }
    return subscriber;
  }

  #exempt(
    subscriber: Subscriber,
    { message }: QueuedMessage,
    evict: () => void,
  ): Disposable {
    const place = subscriber.reserve.add(message.body.length, evict);
    const counts = subscriber.reserve.full ? 0 : 1;
    subscriber.exempt += counts;
    this.#scheduleDelivery();
    return {
      [Symbol.dispose]: () => {
        place[Symbol.dispose]();
        subscriber.exempt -= counts;
      },
    };
  }

  #delivery(subscriber: Subscriber, item: QueuedMessage): Delivery {
    const place = subscriber.unsettled.add(item);
    const settle = (after?: () => void) => {
      if (subscriber.unsettled.get(place) !== item) return;
      subscriber.unsettled.delete(place);
      after?.();
      this.#scheduleDelivery();
    };
    return {
      message: item.message,
      key: item.key,
      redelivered: item.redelivered,
      get lost() {
        return subscriber.closed;
      },
      exemptFromPrefetch: (evict) => this.#exempt(subscriber, item, evict),
      ack: () => settle(),
      reject: (requeue) =>
        settle(requeue ? () => this.#requeue(item) : undefined),
    };
  }
}

/** Deliveries of RabbitMQ, and their acknowledgements. @module */
import process from "node:process";
import { setTimeout as unrefDelay } from "node:timers/promises";
import type { Channel, ReceivedMessage } from "../../../amqp/mod.ts";
import type { HealthRecorder } from "../connection/connection_health.ts";
import type { AckOptions, Delivery, Message } from "../../transport.ts";

/** Consumer of a delivery. */
export interface DeliveryConsumer {
  /** Acknowledgements of its channel. */
  readonly acks: AckBatcher;
  /** Maximum number of unacknowledged deliveries; 0 = no limit. */
  readonly prefetch: number;
  /** True if the queue counts the deliveries of its messages, also before the first count. */
  readonly countsDeliveries: boolean;
  /** Exempts a delivery with a body of so many bytes from the prefetch; see `Delivery.exemptFromPrefetch`. */
  exempt(bytes: number, evict: () => void): Disposable;
}

/** A delivery, which is settled once. */
export class RabbitDelivery implements Delivery {
  readonly message: Message;
  readonly key: string;
  readonly redelivered: boolean;
  readonly #consumer: DeliveryConsumer;
  readonly #tag: number;
  readonly #onSettled: (() => void) | undefined;
  /** See `Delivery.deliveryCount`. */
  readonly deliveryCount: number | undefined;
  #settled = false;

  /** `onSettled` is called once, when the delivery is settled. */
  constructor(
    message: Message,
    { routingKey, deliveryTag, redelivered }: ReceivedMessage,
    consumer: DeliveryConsumer,
    onSettled?: () => void,
  ) {
    this.message = message;
    this.key = routingKey;
    this.redelivered = redelivered;
    this.deliveryCount = deliveryCountOf(message.headers) ??
      (consumer.countsDeliveries ? 0 : undefined);
    this.#consumer = consumer;
    this.#tag = deliveryTag;
    this.#onSettled = onSettled;
  }

  get lost(): boolean {
    return !this.#consumer.acks.alive;
  }

  exemptFromPrefetch(evict: () => void): Disposable {
    return this.#consumer.exempt(this.message.body.length, evict);
  }

  ack(options?: AckOptions): void {
    if (this.#settled) return;
    this.#settled = true;
    const { acks, prefetch } = this.#consumer;
    const delay = options?.lazy
      ? LAZY_DELAY_MS
      : acks.hasRoom(prefetch)
      ? BATCH_DELAY_MS
      : 0;
    acks.ack(this.#tag, delay);
    this.#onSettled?.();
  }

  reject(requeue: boolean): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#consumer.acks.reject(this.#tag, requeue);
    this.#onSettled?.();
  }
}

/**
 * Returns the number of earlier deliveries that the broker has counted; undefined on the first delivery, and if the queue is
 * no quorum queue. RabbitMQ before 4.3 counts all deliveries in `x-delivery-count`. RabbitMQ 4.3 counts all of them in
 * `x-acquired-count`, and in `x-delivery-count` only those that ended with `basic.reject` or a lost channel.
 */
export function deliveryCountOf(
  { "x-acquired-count": acquired, "x-delivery-count": delivered }:
    Message["headers"],
): number | undefined {
  if (acquired === undefined && delivered === undefined) return undefined;
  return Math.max(countFrom(acquired), countFrom(delivered));
}

const countFrom = (value: unknown) =>
  Number.isSafeInteger(value) ? Number(value) : 0;

/** States of a delivery; a tag without a delivery counts as settled. */
const SETTLED = 0, UNSETTLED = 1, ACKNOWLEDGED = 2;
/** Settled deliveries that are kept before the oldest unsettled one, before the list is shortened. */
const MAX_SETTLED = 1024;
const NO_TAGS: readonly number[] = [];

/**
 * Deliveries of one channel by their tags, which count up: a list is faster than a set. A tag between them is that of a
 * message of an unknown consumer, which the client has requeued, so that an acknowledgement with `multiple` does not
 * include the message. A message whose body is being received has the highest tag, and is never included either.
 */
class UnsettledDeliveries {
  #states: number[] = [];
  /** Tag of the first state in the list. */
  #first = 1;
  /** Index of the oldest delivery that may be unsettled. */
  #head = 0;
  #size = 0;

  /** Number of deliveries that are not settled, also of those that are acknowledged and not sent yet. */
  get size(): number {
    return this.#size;
  }

  /** Adds a delivery, whose tag is higher than all before. */
  add(tag: number): void {
    if (this.#size === 0) {
      this.#states = [];
      this.#first = tag;
      this.#head = 0;
    }
    const index = tag - this.#first;
    while (this.#states.length < index) this.#states.push(SETTLED);
    this.#states[index] = UNSETTLED;
    this.#size++;
  }

  /** Notes that a delivery is to be acknowledged. */
  acknowledge(tag: number): void {
    this.#states[tag - this.#first] = ACKNOWLEDGED;
  }

  /** Removes a delivery. */
  settle(tag: number): void {
    this.#states[tag - this.#first] = SETTLED;
    this.#size--;
  }

  /**
   * Removes the acknowledged deliveries, of which there are `count`. Returns the tag of the last of those that have no
   * unsettled delivery before them, 0 if there are none, and the tags of all others.
   */
  takeAcknowledged(
    count: number,
  ): { readonly last: number; readonly others: readonly number[] } {
    const states = this.#states;
    let last = 0, left = count;
    for (; this.#head < states.length; this.#head++) {
      const state = states[this.#head];
      if (state === UNSETTLED) break;

      if (state !== ACKNOWLEDGED) continue;
      states[this.#head] = SETTLED;
      last = this.#first + this.#head;
      left--;
    }
    const others = left > 0 ? this.#takeFrom(this.#head, left) : NO_TAGS;
    this.#size -= count;
    this.#trim();
    return { last, others };
  }

  #takeFrom(from: number, count: number): readonly number[] {
    const states = this.#states;
    const tags: number[] = [];
    for (let i = from; i < states.length && tags.length < count; i++) {
      if (states[i] !== ACKNOWLEDGED) continue;
      states[i] = SETTLED;
      tags.push(this.#first + i);
    }
    return tags;
  }

  #trim(): void {
    if (this.#head <= MAX_SETTLED) return;
    this.#states.splice(0, this.#head);
    this.#first += this.#head;
    this.#head = 0;
  }
}

/**
 * Milliseconds that an acknowledgement waits for others: a lazy one, and any other while the prefetch limit leaves room.
 * The requests whose acknowledgements wait are run again if the process dies, so they wait for a short time only.
 */
const LAZY_DELAY_MS = 100;
const BATCH_DELAY_MS = 5;
/** Acknowledgements that are sent without waiting for more. */
const MAX_BATCH = 256;

/**
 * Acknowledges deliveries of one channel. Acknowledgements for a closed channel are dropped and counted, since sending them
 * would be a protocol error; the broker delivers those messages again.
 */
export class AckBatcher {
  readonly #channel: Channel;
  readonly #recorder: HealthRecorder;
  /** Deliveries that are not settled at the broker. */
  readonly #deliveries = new UnsettledDeliveries();
  /** Number of deliveries that are acknowledged, and not sent yet. */
  #acknowledged = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Delay in milliseconds with which the timer was set. */
  #delay = 0;
  #flushing = false;

  /** `recorder` counts the dropped acknowledgements. */
  constructor(channel: Channel, recorder: HealthRecorder) {
    this.#channel = channel;
    this.#recorder = recorder;
  }

  /** False once the channel is closed: the broker has requeued unsettled messages. */
  get alive(): boolean {
    return this.#channel.isOpen;
  }

  /**
   * True if acknowledgements may wait a little, because the unacknowledged deliveries are fewer than half of a prefetch:
   * the broker delivers more meanwhile.
   */
  hasRoom(prefetch: number): boolean {
    return prefetch === 0 || 2 * this.#deliveries.size < prefetch;
  }

  /** Records a delivery. */
  delivered(tag: number): void {
    this.#deliveries.add(tag);
  }

  /** Acknowledges a delivery after at most `delay` milliseconds; at the end of this turn of the event loop if it is 0. */
  ack(tag: number, delay = 0): void {
    if (!this.#channel.isOpen) return this.#recorder.recordStale(1);
    this.#deliveries.acknowledge(tag);
    this.#acknowledged++;
    if (delay > 0 && this.#acknowledged < MAX_BATCH) {
      this.#schedule(delay);
    } else if (!this.#flushing) {
      this.#flushing = true;
      process.nextTick(this.#send);
    }
  }

  /** Schedules a flush, unless there is an earlier one. */
  #schedule(delay: number): void {
    if (this.#timer !== undefined && delay >= this.#delay) return;
    clearTimeout(this.#timer);
    this.#delay = delay;
    this.#timer = setTimeout(this.#onTimer, delay);
  }

  /**
   * Rejects a delivery, before any acknowledgement that is sent later. From RabbitMQ 4.3 on, `basic.nack` does not count
   * towards the delivery limit of a quorum queue, as `basic.reject` does.
   */
  reject(tag: number, requeue: boolean): void {
    if (!this.#channel.isOpen) return this.#recorder.recordStale(1);
    this.#deliveries.settle(tag);
    if (requeue) this.#channel.nack(tag);
    else this.#channel.reject(tag, false);
  }

  /** Resolves when all deliveries are settled, or the channel is closed. */
  async settled(): Promise<void> {
    while (this.#deliveries.size > 0 && this.#channel.isOpen) {
      this.flush();
      await unrefDelay(BATCH_DELAY_MS, undefined, { ref: false });
    }
  }

  /** Sends all acknowledgements; one with `multiple` for the oldest deliveries up to the first unsettled one. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#onTimer();
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined;
    this.#send();
  };

  /** Sends all acknowledgements. The timer stays, since setting another one would cost more than a flush that is early. */
  readonly #send = (): void => {
    this.#flushing = false;
    const acknowledged = this.#acknowledged;
    if (acknowledged === 0) return;
    this.#acknowledged = 0;
    if (!this.#channel.isOpen) {
      return this.#recorder.recordStale(acknowledged);
    }
    const { last, others } = this.#deliveries.takeAcknowledged(acknowledged);
    if (last > 0) this.#channel.ack(last, true);
    for (const tag of others) this.#channel.ack(tag);
  };
}

/** Deliveries of RabbitMQ, and their acknowledgements. @module */
import process from "node:process";
import type { Channel, ReceivedMessage } from "../../../amqp/mod.ts";
import type { HealthRecorder } from "../connection/connection_health.ts";
import type { AckOptions, Delivery, Message } from "../../transport.ts";

/** Consumer of a delivery. */
export interface DeliveryConsumer {
  /** Acknowledgements of its channel. */
  readonly acks: AckBatcher;
  /** Maximum number of unacknowledged deliveries; 0 = no limit. */
  readonly prefetch: number;
  /** True if the queue counts the deliveries of its messages. */
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
    this.deliveryCount = consumer.countsDeliveries
      ? deliveryCountOf(message.headers)
      : undefined;
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
    acks.ack(this.#tag, options?.lazy || acks.hasRoom(prefetch));
    this.#onSettled?.();
  }

  reject(requeue: boolean): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#consumer.acks.reject(this.#tag, requeue);
    this.#onSettled?.();
  }
}

/** Returns the number of earlier deliveries. A quorum queue sends no count with the first delivery. */
function deliveryCountOf(
  { "x-delivery-count": count }: Message["headers"],
): number {
  return Number.isSafeInteger(count) ? Number(count) : 0;
}

/** Milliseconds that a lazy acknowledgement waits for others. */
const FLUSH_DELAY_MS = 5;
/** Acknowledgements that are sent without waiting for more. */
const MAX_BATCH = 256;

/**
 * Acknowledges deliveries of one channel. Acknowledgements for a closed channel are dropped and counted, since sending them
 * would be a protocol error; the broker delivers those messages again.
 */
export class AckBatcher {
  readonly #channel: Channel;
  readonly #recorder: HealthRecorder;
  /** Tags of unsettled deliveries, in the order of delivery. */
  readonly #unsettled = new Set<number>();
  /** Tags that are acknowledged, and not sent yet. */
  #acknowledged = new Set<number>();
  #timer: ReturnType<typeof setTimeout> | undefined;
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
    return prefetch === 0 || 2 * this.#unsettled.size < prefetch;
  }

  /** Records a delivery. */
  delivered(tag: number): void {
    this.#unsettled.add(tag);
  }

  /** Acknowledges a delivery at the end of this turn of the event loop, or with `lazy` a little later. */
  ack(tag: number, lazy = false): void {
    if (!this.#channel.isOpen) return this.#recorder.recordStale(1);
    this.#acknowledged.add(tag);
    if (lazy && this.#acknowledged.size < MAX_BATCH) {
      this.#timer ??= setTimeout(this.flush, FLUSH_DELAY_MS);
    } else if (!this.#flushing) {
      this.#flushing = true;
      process.nextTick(this.flush);
    }
  }

  /** Rejects a delivery, before any acknowledgement that is sent later. */
  reject(tag: number, requeue: boolean): void {
    if (!this.#channel.isOpen) return this.#recorder.recordStale(1);
    this.#unsettled.delete(tag);
    this.#channel.reject(tag, requeue);
  }

  /** Sends all acknowledgements; one with `multiple` for the oldest deliveries up to the first unsettled one. */
  readonly flush = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#flushing = false;
    const tags = this.#acknowledged;
    if (tags.size === 0) return;
    this.#acknowledged = new Set();
    if (!this.#channel.isOpen) {
      return this.#recorder.recordStale(tags.size);
    }
    let last = 0;
    for (const tag of this.#unsettled) {
      if (!tags.delete(tag)) break;
      this.#unsettled.delete(last = tag);
    }
    if (last > 0) this.#channel.ack(last, true);
    for (const tag of tags) {
      this.#unsettled.delete(tag);
      this.#channel.ack(tag);
    }
  };
}

/** What a consumer gets of RabbitMQ. @module */
import process from "node:process";
import type { Channel } from "npm:amqplib@2.3.1";
import type { Open } from "../amqplib/channel.ts";
import type { HealthRecorder } from "../connection/connection_health.ts";
import type { AckOptions, Delivery, Message } from "../../transport.ts";

/** A delivery, which is settled once. */
export class RabbitDelivery implements Delivery {
  readonly message: Message;
  readonly key: string;
  readonly redelivered: boolean;
  readonly #acks: AckBatcher;
  readonly #tag: number;
  readonly #waits: (evict: () => void) => Disposable;
  /** See `Delivery.deliveryCount`. */
  deliveryCount: number | undefined;
  /** Called once, when it is settled. */
  settled: (() => void) | undefined;
  #settled = false;

  /** As it came, with its tag on the channel of `acks`. */
  constructor(
    message: Message,
    key: string,
    redelivered: boolean,
    acks: AckBatcher,
    tag: number,
    waits: (evict: () => void) => Disposable,
  ) {
    this.message = message;
    this.key = key;
    this.redelivered = redelivered;
    this.#acks = acks;
    this.#tag = tag;
    this.#waits = waits;
  }

  get lost(): boolean {
    return !this.#acks.alive;
  }

  waits(evict: () => void): Disposable {
    return this.#waits(evict);
  }

  ack(options?: AckOptions): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#acks.ack(this.#tag, options?.lazy);
    this.settled?.();
  }

  reject(requeue: boolean): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#acks.reject(this.#tag, requeue);
    this.settled?.();
  }
}

/** Milliseconds that one may wait for others. */
const FLUSH_DELAY_MS = 5;
/** So many do not wait for more. */
const MAX_BATCH = 256;

/** Settles deliveries, each once; when their channel is gone, that means nothing, and saying it would be an error. */
export class AckBatcher {
  readonly #open: Open<Channel>;
  readonly #recorder: HealthRecorder;
  /** Deliveries that the broker waits for, in their order. */
  readonly #unsettled = new Set<number>();
  #due = new Set<number>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #flushing = false;

  /** Of a channel. */
  constructor(open: Open<Channel>, recorder: HealthRecorder) {
    this.#open = open;
    this.#recorder = recorder;
  }

  /** False once the channel is gone: what was not settled is back in its queue. */
  get alive(): boolean {
    return this.#open.alive;
  }

  /** One has come. */
  delivered(tag: number): void {
    this.#unsettled.add(tag);
  }

  /** Acknowledged at the end of this turn, or a little later. */
  ack(tag: number, lazy = false): void {
    if (!this.#open.alive) return void this.#recorder.stale++;
    this.#due.add(tag);
    if (lazy && this.#due.size < MAX_BATCH) {
      this.#timer ??= setTimeout(this.flush, FLUSH_DELAY_MS);
    } else if (!this.#flushing) {
      this.#flushing = true;
      process.nextTick(this.flush);
    }
  }

  /** Refused, before all that is acknowledged later. */
  reject(tag: number, requeue: boolean): void {
    if (!this.#open.alive) return void this.#recorder.stale++;
    this.#unsettled.delete(tag);
    this.#open.outgoing.reject(this.#open.channel, tag, requeue);
  }

  /** Sends what is due. */
  flush = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#flushing = false;
    const due = this.#due;
    if (due.size === 0) return;
    this.#due = new Set();
    if (!this.#open.alive) return void (this.#recorder.stale += due.size);
    let last = 0;
    for (const tag of this.#unsettled) {
      if (!due.delete(tag)) break;
      this.#unsettled.delete(last = tag);
    }
    const { channel, outgoing } = this.#open;
    if (last > 0) outgoing.ack(channel, last, true); // it, and all before it
    for (const tag of due) {
      this.#unsettled.delete(tag);
      outgoing.ack(channel, tag, false);
    }
  };
}

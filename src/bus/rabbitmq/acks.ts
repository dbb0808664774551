/** Acknowledgements of one channel: those of a turn of the event loop go together, as one where order allows. @module */
import process from "node:process";
import type { Channel } from "npm:amqplib@2.3.1";
import type { Open } from "./channel.ts";
import type { Vitals } from "./vitals.ts";

/** Settles deliveries, each once; when their channel is gone, that means nothing, and saying it would be an error. */
export class Acks {
  readonly #open: Open<Channel>;
  readonly #vitals: Vitals;
  /** Deliveries that the broker waits for, in their order. */
  readonly #unsettled = new Set<number>();
  #due = new Set<number>();

  /** Of a channel. */
  constructor(open: Open<Channel>, vitals: Vitals) {
    this.#open = open;
    this.#vitals = vitals;
  }

  /** One has come. */
  delivered(tag: number): void {
    this.#unsettled.add(tag);
  }

  /** Acknowledged at the end of this turn. */
  ack(tag: number): void {
    if (!this.#open.alive) return void this.#vitals.stale++;
    if (this.#due.size === 0) process.nextTick(this.flush);
    this.#due.add(tag);
  }

  /** Refused, before all that is acknowledged in this turn. */
  reject(tag: number, requeue: boolean): void {
    if (!this.#open.alive) return void this.#vitals.stale++;
    this.#unsettled.delete(tag);
    this.#open.outgoing.reject(this.#open.channel, tag, requeue);
  }

  /** Sends what is due. */
  flush = (): void => {
    const due = this.#due;
    if (due.size === 0) return;
    this.#due = new Set();
    if (!this.#open.alive) return void (this.#vitals.stale += due.size);
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

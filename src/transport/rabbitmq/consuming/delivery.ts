/** What a consumer gets of RabbitMQ. @module */
import type { Delivery, Message } from "../../transport.ts";
import type { Acks } from "./ack_batcher.ts";

/** A delivery, which is settled once. */
export class RabbitDelivery implements Delivery {
  readonly message: Message;
  readonly key: string;
  readonly redelivered: boolean;
  readonly #acks: Acks;
  readonly #tag: number;
  readonly #waits: (evict: () => void) => Disposable;
  /** Called once, when it is settled. */
  settled: (() => void) | undefined;
  #settled = false;

  /** As it came, with its tag on the channel of `acks`. */
  constructor(
    message: Message,
    key: string,
    redelivered: boolean,
    acks: Acks,
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

  ack(when?: "soon"): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#acks.ack(this.#tag, when);
    this.settled?.();
  }

  reject(requeue: boolean): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#acks.reject(this.#tag, requeue);
    this.settled?.();
  }
}

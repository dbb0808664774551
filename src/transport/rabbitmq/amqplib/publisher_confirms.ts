/** Publisher confirms of a channel. @module */
import { IndexedQueue } from "../../../slot_map.ts";

/** Confirmation of a message: `basic.ack`, `basic.nack`, or neither because the channel is closed. */
export type Confirmation = "ack" | "nack" | "lost";

/** Listeners for confirms, in the order in which their messages were sent. */
export class PublisherConfirms {
  readonly #waiting = new IndexedQueue<(confirmation: Confirmation) => void>();

  /** Adds the listener of the next message. */
  add(onConfirm: (confirmation: Confirmation) => void): void {
    this.#waiting.add(onConfirm);
  }

  /** Confirms the message with that delivery tag, which counts from 1; with `multiple`, all messages up to it. */
  settle(tag: number, multiple: boolean, confirmation: Confirmation): void {
    const waiting = this.#waiting;
    if (!multiple) return waiting.delete(tag - 1)?.(confirmation);
    while (waiting.size > 0 && waiting.head < tag) {
      waiting.delete(waiting.head)?.(confirmation);
    }
  }

  /** Reports all unconfirmed messages as lost, because the channel is closed. */
  loseAll(): void {
    const waiting = this.#waiting;
    while (waiting.size > 0) waiting.delete(waiting.head)?.("lost");
  }
}

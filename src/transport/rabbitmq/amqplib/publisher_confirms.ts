/** The broker's word on what was sent on a channel. @module */
import { IndexedQueue } from "../../../slot_map.ts";

/** Taken, refused, or not known because the channel is gone. */
export type Confirmation = "taken" | "refused" | "gone";

/** Those who wait for the broker's word, in the order in which they sent. */
export class PublisherConfirms {
  readonly #waiting = new IndexedQueue<(word: Confirmation) => void>();

  /** The next message is theirs. */
  add(told: (word: Confirmation) => void): void {
    this.#waiting.add(told);
  }

  /** The broker, which counts from 1, has spoken: of one, or of all up to it. */
  settle(tag: number, multiple: boolean, word: Confirmation): void {
    const waiting = this.#waiting;
    if (!multiple) return waiting.delete(tag - 1)?.(word);
    while (waiting.size > 0 && waiting.head < tag) {
      waiting.delete(waiting.head)?.(word);
    }
  }

  /** The channel is gone. */
  end(): void {
    const waiting = this.#waiting;
    while (waiting.size > 0) waiting.delete(waiting.head)?.("gone");
  }
}

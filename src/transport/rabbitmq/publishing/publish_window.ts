/** Bounds what is sent and not settled by the broker: who sends faster waits its turn. @module */

import { Line } from "../../../slot_map.ts";

/** Bounds of a window. */
export interface WindowBounds {
  /** Messages in flight at most. */
  readonly messages?: number;
  /** Bytes of their bodies at most; a larger message goes alone. */
  readonly bytes?: number;
}

/** A place in the queue before a window. */
export interface Turn {
  /** Resolves when the room is taken. */
  readonly come: Promise<void>;
  /** Gives the place up, or the room if that has just been taken. */
  leave(): void;
}

interface Waiter {
  readonly bytes: number;
  readonly come: () => void;
}

/** Room for messages in flight, given in the order of asking. */
export class Window {
  readonly #most: Required<WindowBounds>;
  readonly #waiters = new Line<Waiter>();
  #messages = 0;
  #bytes = 0;

  /** Default: 1000 messages, 16 MiB. */
  constructor({ messages = 1_000, bytes = 16 * 2 ** 20 }: WindowBounds = {}) {
    this.#most = { messages, bytes };
  }

  /** Takes room at once; false if there is none, or others wait. */
  take(bytes: number): boolean {
    if (this.#waiters.size > 0 || !this.#fits(bytes)) return false;
    this.#messages++;
    this.#bytes += bytes;
    return true;
  }

  /** Waits for room. */
  queue(bytes: number): Turn {
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiter = { bytes, come: resolve };
    const place = this.#waiters.add(waiter);
    const leave = () => {
      if (this.#waiters.delete(place)) this.#admit(); // it may have been in the way of a smaller one
      else this.give(bytes);
    };
    return { come: promise, leave };
  }

  /** Gives room back: the broker has settled a message. */
  give(bytes: number): void {
    this.#messages--;
    this.#bytes -= bytes;
    if (this.#waiters.size > 0) this.#admit();
  }

  #fits(bytes: number): boolean {
    const { messages, bytes: most } = this.#most;
    return this.#messages === 0 ||
      this.#messages < messages && this.#bytes + bytes <= most;
  }

  #admit(): void {
    const waiters = this.#waiters;
    for (;;) {
      const { first, head } = waiters;
      if (!first || !this.#fits(first.bytes)) return;
      waiters.delete(head);
      this.#messages++;
      this.#bytes += first.bytes;
      first.come();
    }
  }
}

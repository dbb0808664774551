/** Bounds what is sent and not settled by the broker: who sends faster waits its turn. @module */

import { IndexedQueue } from "../../../slot_map.ts";

/** Bounds of a window. */
export interface WindowLimits {
  /** Messages in flight at most. */
  readonly messages?: number;
  /** Bytes of their bodies at most; a larger message goes alone. */
  readonly bytes?: number;
}

/** A place in the queue before a window. */
export interface Reservation {
  /** Resolves when the room is taken. */
  readonly granted: Promise<void>;
  /** Gives the place up, or the room if that has just been taken. */
  cancel(): void;
}

interface Waiter {
  readonly bytes: number;
  readonly come: () => void;
}

/** Room for messages in flight, given in the order of asking. */
export class InFlightWindow {
  readonly #limits: Required<WindowLimits>;
  readonly #waiters = new IndexedQueue<Waiter>();
  #messages = 0;
  #bytes = 0;

  /** Default: 1000 messages, 16 MiB. */
  constructor({ messages = 1_000, bytes = 16 * 2 ** 20 }: WindowLimits = {}) {
    this.#limits = { messages, bytes };
  }

  /** Takes room at once; false if there is none, or others wait. */
  tryAcquire(bytes: number): boolean {
    if (this.#waiters.size > 0 || !this.#fits(bytes)) return false;
    this.#messages++;
    this.#bytes += bytes;
    return true;
  }

  /** Waits for room. */
  acquire(bytes: number): Reservation {
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiter = { bytes, come: resolve };
    const place = this.#waiters.add(waiter);
    const leave = () => {
      if (this.#waiters.delete(place)) this.#admit(); // it may have been in the way of a smaller one
      else this.release(bytes);
    };
    return { granted: promise, cancel: leave };
  }

  /** Gives room back: the broker has settled a message. */
  release(bytes: number): void {
    this.#messages--;
    this.#bytes -= bytes;
    if (this.#waiters.size > 0) this.#admit();
  }

  #fits(bytes: number): boolean {
    const { messages, bytes: most } = this.#limits;
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

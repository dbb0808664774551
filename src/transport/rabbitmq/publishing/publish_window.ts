/** In-flight window: limits the messages that the broker has not settled. @module */

import { IndexedQueue } from "../../../slot_map.ts";

/** Limits of a window. */
export interface WindowLimits {
  /** Maximum number of messages in flight; default 1000. */
  readonly messages?: number;
  /** Maximum number of bytes of their bodies; default 16 MiB. A larger message is sent alone. */
  readonly bytes?: number;
}

/** Request for room in a window. */
export interface Reservation {
  /** Resolves when the room is acquired. */
  readonly granted: Promise<void>;
  /** Cancels the request, and releases the room if it has been acquired in the same turn. */
  cancel(): void;
}

interface Waiter {
  readonly bytes: number;
  readonly grant: () => void;
}

/** Room for messages in flight, granted in the order of the requests. */
export class InFlightWindow {
  readonly #limits: Required<WindowLimits>;
  readonly #waiters = new IndexedQueue<Waiter>();
  #messages = 0;
  #bytes = 0;
  #admitted = 0;

  /** Creates an empty window. */
  constructor({ messages = 1_000, bytes = 16 * 2 ** 20 }: WindowLimits = {}) {
    this.#limits = { messages, bytes };
  }

  /** Number of messages in flight. */
  get messages(): number {
    return this.#messages;
  }

  /** Number of all messages that have acquired room. */
  get admitted(): number {
    return this.#admitted;
  }

  /** Acquires room at once; returns false if there is no room, or if other requests wait. */
  tryAcquire(bytes: number): boolean {
    if (this.#waiters.size > 0 || !this.#fits(bytes)) return false;
    this.#add(bytes);
    return true;
  }

  /** Requests room. */
  acquire(bytes: number): Reservation {
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiter = { bytes, grant: resolve };
    const place = this.#waiters.add(waiter);
    this.#admit();
    const leave = () => {
      if (this.#waiters.delete(place)) this.#admit(); // the cancelled request may have blocked a smaller one
      else this.release(bytes);
    };
    return { granted: promise, cancel: leave };
  }

  /** Releases room, when the broker has settled a message. */
  release(bytes: number): void {
    this.#messages--;
    this.#bytes -= bytes;
    if (this.#waiters.size > 0) this.#admit();
  }

  #fits(bytes: number): boolean {
    const { messages, bytes: maxBytes } = this.#limits;
    return this.#messages === 0 ||
      this.#messages < messages && this.#bytes + bytes <= maxBytes;
  }

  #add(bytes: number): void {
    this.#messages++;
    this.#bytes += bytes;
    this.#admitted++;
  }

  #admit(): void {
    const waiters = this.#waiters;
    for (;;) {
      const { first, head } = waiters;
      if (!first || !this.#fits(first.bytes)) return;
      waiters.delete(head);
      this.#add(first.bytes);
      first.grant();
    }
  }
}

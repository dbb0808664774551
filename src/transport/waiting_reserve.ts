/**
 * Deliveries that are exempt from the prefetch of their consumer, because they wait for something other than a handler.
 *
 * @module
 */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../async/timer_wheel.ts";

/** Maximum number of exempt deliveries, and of bytes of their bodies. */
const MAX_MESSAGES = 1_000;
const MAX_BYTES = 64 * 1024 * 1024;
/**
 * Milliseconds between two checks of the limits, and between two evictions: an evicted message is soon delivered again.
 */
const CHECK_INTERVAL_MS = 20;
const EVICTION_INTERVAL_MS = 100;

/** A delivery that is exempt. */
interface Slot {
  readonly bytes: number;
  readonly evict: () => void;
}

/**
 * Exempt deliveries of one connection context. Above the limits, the one that has waited for the longest time is
 * evicted.
 */
export class WaitingReserve implements Disposable {
  /** Exempt deliveries, oldest first. */
  readonly #slots = new Set<Slot>();
  readonly #onCheck: () => void;
  #bytes = 0;
  /** Earliest time of the next eviction, in milliseconds of `performance.now()`. */
  #nextEviction = 0;
  #timer: Timer | undefined;

  /** `onCheck` is called every 20 ms while a delivery is exempt and the limits are not exceeded. */
  constructor(looked: () => void = () => {}) {
    this.#onCheck = looked;
  }

  /** True if a limit is exceeded. */
  get full(): boolean {
    return this.#slots.size > MAX_MESSAGES || this.#bytes > MAX_BYTES;
  }

  /**
   * Exempts a delivery of so many bytes, until disposed. `evict` is called if the delivery has to be settled, and may be
   * called again.
   */
  add(bytes: number, evict: () => void): Disposable {
    const slot = { bytes, evict };
    this.#slots.add(slot);
    this.#bytes += bytes;
    if (!this.#timer) this.#scheduleCheck();
    return {
      [Symbol.dispose]: () => {
        if (this.#slots.delete(slot)) this.#bytes -= bytes;
        if (this.#slots.size === 0 && this.#timer) clearDeadline(this.#timer);
        if (this.#slots.size === 0) this.#timer = undefined;
      },
    };
  }

  /** Ends the checks and removes all deliveries. */
  [Symbol.dispose](): void {
    this.#slots.clear();
    this.#bytes = 0;
    if (this.#timer) clearDeadline(this.#timer);
    this.#timer = undefined;
  }

  #scheduleCheck(): void {
    const now = performance.now();
    this.#timer = setDeadline(now + CHECK_INTERVAL_MS, () => {
      this.#scheduleCheck();
      if (!this.full) return this.#onCheck();
      if (now < this.#nextEviction) return;
      this.#nextEviction = now + EVICTION_INTERVAL_MS;
      const [oldest] = this.#slots;
      oldest?.evict();
    });
  }
}

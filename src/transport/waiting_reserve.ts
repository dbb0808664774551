/** Messages in hand that wait for something else than their consumer, and keep no others from it. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../async/timer_wheel.ts";

/** Messages that wait so, at most, and bytes of their bodies. */
const MAX_MESSAGES = 1_000;
const MAX_BYTES = 64 * 1024 * 1024;
/** Milliseconds between two looks at them, and from one that has to go to the next: what goes comes again soon. */
const CHECK_INTERVAL_MS = 20;
const EVICTION_INTERVAL_MS = 100;

/** A message that waits. */
interface Slot {
  readonly bytes: number;
  readonly evict: () => void;
}

/** The messages that wait for the consumers of one connection context. The one that has waited longest goes when they are too many. */
export class WaitingReserve implements Disposable {
  /** In the order in which they came. */
  readonly #places = new Set<Slot>();
  readonly #looked: () => void;
  #bytes = 0;
  /** Time of the next eviction at the earliest, in milliseconds of `performance.now()`. */
  #next = 0;
  #look: Timer | undefined;

  /** `looked` is called every 20 ms while something waits and there is room for more. */
  constructor(looked: () => void = () => {}) {
    this.#looked = looked;
  }

  /** True if no more may wait than do. */
  get full(): boolean {
    return this.#places.size > MAX_MESSAGES || this.#bytes > MAX_BYTES;
  }

  /** A message of so many bytes waits, until disposed; `evict` is called where it has to go, and may be called again. */
  wait(bytes: number, evict: () => void): Disposable {
    const place = { bytes, evict };
    this.#places.add(place);
    this.#bytes += bytes;
    if (!this.#look) this.#later();
    return {
      [Symbol.dispose]: () => {
        if (this.#places.delete(place)) this.#bytes -= bytes;
        if (this.#places.size === 0 && this.#look) clearDeadline(this.#look);
        if (this.#places.size === 0) this.#look = undefined;
      },
    };
  }

  /** Looks no more, whatever still waits. */
  [Symbol.dispose](): void {
    this.#places.clear();
    this.#bytes = 0;
    if (this.#look) clearDeadline(this.#look);
    this.#look = undefined;
  }

  #later(): void {
    const now = performance.now();
    this.#look = setDeadline(now + CHECK_INTERVAL_MS, () => {
      this.#later();
      if (!this.full) return this.#looked();
      if (now < this.#next) return;
      this.#next = now + EVICTION_INTERVAL_MS;
      const [oldest] = this.#places;
      oldest?.evict();
    });
  }
}

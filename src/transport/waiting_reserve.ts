/** Messages in hand that wait for something else than their consumer, and keep no others from it. @module */
import { expireAt, forget, type Waiting } from "../async/timer_wheel.ts";

/** Messages that wait so, at most, and bytes of their bodies. */
const MOST = 1_000;
const BYTES = 64 * 1024 * 1024;
/** Milliseconds between two looks at them, and from one that has to go to the next: what goes comes again soon. */
const LOOK = 20;
const EVICTION = 100;

/** A message that waits. */
interface Place {
  readonly bytes: number;
  readonly evict: () => void;
}

/** The messages that wait for the consumers of one connection context. The one that has waited longest goes when they are too many. */
export class Reserve implements Disposable {
  /** In the order in which they came. */
  readonly #places = new Set<Place>();
  readonly #looked: () => void;
  #bytes = 0;
  /** Time of the next eviction at the earliest, in milliseconds of `performance.now()`. */
  #next = 0;
  #look: Waiting | undefined;

  /** `looked` is called every 20 ms while something waits and there is room for more. */
  constructor(looked: () => void = () => {}) {
    this.#looked = looked;
  }

  /** True if no more may wait than do. */
  get full(): boolean {
    return this.#places.size > MOST || this.#bytes > BYTES;
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
        if (this.#places.size === 0 && this.#look) forget(this.#look);
        if (this.#places.size === 0) this.#look = undefined;
      },
    };
  }

  /** Looks no more, whatever still waits. */
  [Symbol.dispose](): void {
    this.#places.clear();
    this.#bytes = 0;
    if (this.#look) forget(this.#look);
    this.#look = undefined;
  }

  #later(): void {
    const now = performance.now();
    this.#look = expireAt(now + LOOK, () => {
      this.#later();
      if (!this.full) return this.#looked();
      if (now < this.#next) return;
      this.#next = now + EVICTION;
      const [oldest] = this.#places;
      oldest?.evict();
    });
  }
}

/**
 * Consumers whose deliveries wait. RabbitMQ counts unacknowledged deliveries for each consumer, and cannot raise its limit: a
 * new one in its place begins to count at none. @module
 */
import { Reserve } from "../reserve.ts";

/** A consumer, by its tag. */
interface Waits {
  readonly prefetch: number;
  /** How many of its deliveries wait. */
  count: number;
}

/** The consumers of one channel. */
export class Renewals implements Disposable {
  readonly #waits = new Map<string, Waits>();
  readonly #reserve: Reserve;

  /** `renew` puts a new consumer in the place of the one with that tag. */
  constructor(renew: (tag: string) => void) {
    this.#reserve = new Reserve(() => {
      for (const [tag, { prefetch, count }] of this.#waits) {
        if (count < prefetch / 2) continue;
        this.#waits.delete(tag); // its successor has none that wait
        renew(tag);
      }
    });
  }

  /** A delivery of that consumer waits, until disposed; see `Delivery.waits`. */
  wait(
    tag: string,
    prefetch: number,
    bytes: number,
    evict: () => void,
  ): Disposable {
    const waits = this.#waits.get(tag) ?? { prefetch, count: 0 };
    waits.count++;
    this.#waits.set(tag, waits);
    const place = this.#reserve.wait(bytes, evict);
    return {
      [Symbol.dispose]: () => {
        place[Symbol.dispose]();
        if (--waits.count === 0) this.#waits.delete(tag);
      },
    };
  }

  [Symbol.dispose](): void {
    this.#waits.clear();
    this.#reserve[Symbol.dispose]();
  }
}

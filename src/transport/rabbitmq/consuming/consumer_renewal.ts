/**
 * Consumers whose deliveries wait. RabbitMQ counts unacknowledged deliveries for each consumer, and cannot raise its limit: a
 * new one in its place begins to count at none. @module
 */
import { WaitingReserve } from "../../waiting_reserve.ts";

/** A consumer, by its tag. */
interface Waits {
  readonly prefetch: number;
  /** How many of its deliveries wait. */
  count: number;
  /** True while another is put in its place. */
  renewing: boolean;
}

/** The consumers of one channel. */
export class Renewals implements Disposable {
  readonly #waits = new Map<string, Waits>();
  readonly #reserve: WaitingReserve;
  readonly #renew: (tag: string) => Promise<boolean>;

  /** `renew` puts a new consumer in the place of the one with that tag; false if that one stays. It never rejects. */
  constructor(renew: (tag: string) => Promise<boolean>) {
    this.#renew = renew;
    this.#reserve = new WaitingReserve(() => {
      for (const [tag, waits] of this.#waits) {
        const { prefetch, count, renewing } = waits;
        if (!renewing && count >= prefetch / 2) void this.#replace(tag, waits);
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
    const waits = this.#waits.get(tag) ??
      { prefetch, count: 0, renewing: false };
    waits.count++;
    this.#waits.set(tag, waits);
    const place = this.#reserve.wait(bytes, evict);
    return {
      [Symbol.dispose]: () => {
        place[Symbol.dispose]();
        if (--waits.count === 0) this.#forget(tag, waits);
      },
    };
  }

  [Symbol.dispose](): void {
    this.#waits.clear();
    this.#reserve[Symbol.dispose]();
  }

  /** One that could not be replaced is looked at again. */
  async #replace(tag: string, waits: Waits): Promise<void> {
    waits.renewing = true;
    const replaced = await this.#renew(tag);
    waits.renewing = false;
    if (replaced || waits.count === 0) this.#forget(tag, waits);
  }

  #forget(tag: string, waits: Waits): void {
    if (!waits.renewing && this.#waits.get(tag) === waits) {
      this.#waits.delete(tag);
    }
  }
}

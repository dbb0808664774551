/**
 * Renewal of consumers whose deliveries are exempt from the prefetch. RabbitMQ counts unacknowledged deliveries for each
 * consumer and cannot raise the prefetch of one; a new consumer in its place starts to count at zero.
 *
 * @module
 */
import { WaitingReserve } from "../../waiting_reserve.ts";

/** Exempt deliveries of one consumer. */
interface ExemptDeliveries {
  readonly prefetch: number;
  count: number;
  /** True while the consumer is being replaced. */
  renewing: boolean;
}

/** A delivery that is exempt from the prefetch of its consumer. */
export interface ExemptDelivery {
  /** Prefetch of the consumer; `Infinity` if the consumer must not be renewed. */
  readonly prefetch: number;
  /** Length of the body. */
  readonly bytes: number;
  /** Called if the delivery has to be settled. */
  readonly evict: () => void;
}

/** Renews the consumers of one channel when half of their prefetch is exempt. */
export class Renewals implements Disposable {
  /** Exempt deliveries by the tag of their consumer. */
  readonly #exempt = new Map<string, ExemptDeliveries>();
  readonly #reserve: WaitingReserve;
  readonly #renew: (tag: string) => Promise<boolean>;

  /** `renew` replaces the consumer with that tag by a new one; resolves to false if that failed. It never rejects. */
  constructor(renew: (tag: string) => Promise<boolean>) {
    this.#renew = renew;
    this.#reserve = new WaitingReserve(() => {
      for (const [tag, exempt] of this.#exempt) {
        const { prefetch, count, renewing } = exempt;
        if (!renewing && count >= prefetch / 2) void this.#replace(tag, exempt);
      }
    });
  }

  /** Exempts a delivery of the consumer with that tag, until disposed. */
  add(tag: string, { prefetch, bytes, evict }: ExemptDelivery): Disposable {
    const exempt = this.#exempt.get(tag) ??
      { prefetch, count: 0, renewing: false };
    exempt.count++;
    this.#exempt.set(tag, exempt);
    const slot = this.#reserve.add(bytes, evict);
    return {
      [Symbol.dispose]: () => {
        slot[Symbol.dispose]();
        if (--exempt.count === 0) this.#remove(tag, exempt);
      },
    };
  }

  [Symbol.dispose](): void {
    this.#exempt.clear();
    this.#reserve[Symbol.dispose]();
  }

  /** Replaces a consumer. If that fails, the next check tries again. */
  async #replace(tag: string, exempt: ExemptDeliveries): Promise<void> {
    exempt.renewing = true;
    const replaced = await this.#renew(tag);
    exempt.renewing = false;
    if (replaced || exempt.count === 0) this.#remove(tag, exempt);
  }

  #remove(tag: string, exempt: ExemptDeliveries): void {
    if (!exempt.renewing && this.#exempt.get(tag) === exempt) {
      this.#exempt.delete(tag);
    }
  }
}

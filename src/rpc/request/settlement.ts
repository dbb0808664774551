/** Settlement of a request's delivery: it is acknowledged, requeued, handed over, or left for another worker. @module */
import type { Lease } from "../../ledger/lease.ts";
import type { Delivery } from "../../transport/transport.ts";

/** State of one delivery. The delivery is acknowledged or rejected once; later attempts change nothing. */
export class Settlement {
  readonly #delivery: Delivery;
  #lease: Lease | undefined;
  #acknowledged = false;
  #stored = false;
  #abandoned = false;
  #fenced = false;

  /** Takes a delivery that is not settled yet. */
  constructor(delivery: Delivery) {
    this.#delivery = delivery;
  }

  /** Lease of the request in the shared ledger; undefined without a ledger, and before the request is claimed. */
  get lease(): Lease | undefined {
    return this.#lease;
  }

  /** True once the channel of the delivery is gone: the broker has put the message back into its queue. */
  get lost(): boolean {
    return this.#delivery.lost;
  }

  /** True once the delivery is acknowledged: its queue forgets the message. */
  get acknowledged(): boolean {
    return this.#acknowledged;
  }

  /** True while the ledger stores the message in place of its queue. */
  get stored(): boolean {
    return this.#stored;
  }

  /** True once no other worker can get the request: it is acknowledged, and the ledger does not store it. */
  get final(): boolean {
    return this.#acknowledged && !this.#stored;
  }

  /** True once this worker does not finish the request: it goes back to its queue, or was handed over. */
  get abandoned(): boolean {
    return this.#abandoned;
  }

  /** True once another worker has taken the request over. */
  get fenced(): boolean {
    return this.#fenced;
  }

  /** True while this worker may still decide what becomes of the request. */
  get open(): boolean {
    return !this.final && !this.#abandoned;
  }

  /** Holds the lease of the claimed request from now on. */
  claim(lease: Lease): void {
    this.#lease = lease;
  }

  /** Acknowledges the delivery, before the request is done where it is to run at most once. */
  ack(): void {
    this.#acknowledged = true;
    this.#delivery.ack();
  }

  /** Acknowledges the delivery, unless the request was abandoned: then it stays in its queue for another worker. */
  complete(): void {
    if (!this.#abandoned) this.ack();
  }

  /** Acknowledges the delivery since the ledger has stored the message: the broker would take it back after its own timeout. */
  store(): void {
    this.#stored = true;
    this.ack();
  }

  /** Puts the message back into its queue as if it had not been delivered. */
  requeue(): void {
    if (!this.open) return;
    this.#abandoned = true;
    if (!this.#stored) this.#delivery.reject(true);
  }

  /** Acknowledges the delivery of a request that is not done here: its queue has a copy, or another worker has the request. */
  handOver(): void {
    this.ack();
    this.#abandoned = true;
  }

  /** Leaves the request to another worker. The message stays unacknowledged: the broker requeues it with the channel's end. */
  abandon(): void {
    this.#abandoned = true;
  }

  /** Notes that another worker has taken the request over. */
  fence(): void {
    this.#fenced = true;
  }

  /** Lets another delivery take the place of this one in the prefetch while the request waits; see `Delivery.exemptFromPrefetch`. */
  waits(evict: () => void): Disposable {
    return this.#delivery.exemptFromPrefetch(evict);
  }
}

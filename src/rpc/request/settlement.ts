/** Settlement of a request's delivery: acknowledged, requeued, handed over, or abandoned to another worker. @module */
import type { Lease } from "../../ledger/lease.ts";
import { withDeadline } from "../../async/deadline.ts";
import type { Delivery } from "../../transport/transport.ts";

/** Milliseconds for the ledger to record that a request has ended. */
const END_TIMEOUT_MS = 1_000;

/** State of one delivery. The delivery is acknowledged or rejected once; later attempts change nothing. */
export class Settlement {
  readonly #delivery: Delivery;
  #lease: Lease | undefined;
  #acknowledged = false;
  #stored = false;
  #abandoned = false;
  #fenced = false;

  /** Takes over the settlement of a delivery. */
  constructor(delivery: Delivery) {
    this.#delivery = delivery;
  }

  /** Lease of the request in the shared ledger; undefined without a ledger, and before the request is claimed. */
  get lease(): Lease | undefined {
    return this.#lease;
  }

  /** True once the channel of the delivery is closed: the broker has requeued the message. */
  get lost(): boolean {
    return this.#delivery.lost;
  }

  /** True once the delivery is acknowledged, so that the broker has removed the message. */
  get acknowledged(): boolean {
    return this.#acknowledged;
  }

  /** True if the ledger stores the message, so that the broker need not. */
  get stored(): boolean {
    return this.#stored;
  }

  /**
   * True once no other worker can get the request: the delivery is acknowledged, and the ledger does not store the
   * message.
   */
  get final(): boolean {
    return this.#acknowledged && !this.#stored;
  }

  /** True if this worker will not finish the request: it was requeued, handed over, or abandoned. */
  get abandoned(): boolean {
    return this.#abandoned;
  }

  /** True once another worker has taken over the request. */
  get fenced(): boolean {
    return this.#fenced;
  }

  /** True while this worker can still decide whether the request is done, retried or requeued. */
  get open(): boolean {
    return !this.final && !this.#abandoned;
  }

  /** Stores the lease of the claimed request. */
  claim(lease: Lease): void {
    this.#lease = lease;
  }

  /** Acknowledges the delivery. Called before the handler for a request that is to run at most once. */
  ack(): void {
    this.#acknowledged = true;
    this.#delivery.ack();
  }

  /**
   * Acknowledges the delivery of a request that is done, unless the request was abandoned: then it stays in its queue
   * for another worker.
   */
  complete(): void {
    if (!this.#abandoned) this.ack();
  }

  /**
   * Acknowledges the delivery because the ledger has stored the message: the broker would requeue it after its own
   * timeout.
   */
  store(): void {
    this.#stored = true;
    this.ack();
  }

  /** Requeues the message. */
  requeue(): void {
    if (!this.open) return;
    this.#abandoned = true;
    if (!this.#stored) this.#delivery.reject(true);
  }

  /**
   * Acknowledges the delivery of a request that is not done here, because its queue has a copy, or another worker has
   * the request.
   */
  handOver(): void {
    this.ack();
    this.#abandoned = true;
  }

  /**
   * Leaves the request to another worker. The message stays unacknowledged: the broker requeues it when the channel is
   * closed.
   */
  abandon(): void {
    this.#abandoned = true;
  }

  /** Requeues the message of a request that was abandoned. */
  giveBack(): void {
    if (!this.#acknowledged) this.#delivery.reject(true);
  }

  /** Notes that another worker has taken over the request. */
  fence(): void {
    this.#fenced = true;
  }

  /** Records in the ledger that the request has ended with this worker: no other worker starts it again. */
  async endClaim(): Promise<void> {
    if (!this.#lease) return;
    const deadline = { at: performance.now() + END_TIMEOUT_MS };
    const done = this.#lease.done([], deadline);
    await withDeadline(done, deadline, () => undefined).catch(() => {});
  }

  /** Exempts the delivery from the prefetch limit while the request waits; see `Delivery.exemptFromPrefetch`. */
  exemptFromPrefetch(evict: () => void): Disposable {
    return this.#delivery.exemptFromPrefetch(evict);
  }
}

/** Requests for the items of a stream that were lost on their way. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import type { StreamReceiver } from "./stream_receiver.ts";

/** Milliseconds in which missing items must be received. */
const GAP_TIMEOUT_MS = 10_000;
/** Milliseconds between two requests for missing items. */
const RETRY_INTERVAL_MS = 500;
/**
 * Milliseconds in which the worker must send something once another worker has started the same request. It may have lost its
 * broker for a moment only.
 */
const RIVAL_TIMEOUT_MS = 5_000;
/** Milliseconds of silence after which the ending may be missing: a worker sends a heartbeat every five seconds. */
const MAX_SILENCE_MS = 7_500;

/** Gap recovery of a reader. The worker answers from its `ReplayBuffer`. */
export class GapRecovery implements Disposable {
  readonly #receiver: StreamReceiver;
  readonly #requestItems: () => void;
  readonly #gapTimeout: number;
  #heardAt = performance.now();
  /** Time until which items that were in transit when the broker was lost may still be received. */
  #doubtUntil = -Infinity;
  /** Number of the first missing item; 0 = none is missing. */
  #awaited = 0;
  #limit = setDeadline(Infinity, () => {});
  #rival: Timer | undefined;
  #disposed = false;
  #next = setDeadline(performance.now() + MAX_SILENCE_MS, () => this.#check());

  /** `requestItems` tells the worker where to go on; `timeout` is the longest silence, in milliseconds, that the reader accepts. */
  constructor(
    receiver: StreamReceiver,
    timeout: number,
    requestItems: () => void,
  ) {
    this.#receiver = receiver;
    this.#requestItems = requestItems;
    this.#gapTimeout = Math.min(GAP_TIMEOUT_MS, timeout);
  }

  /** The broker is back: worker and inbox may come back a little later. */
  onReconnect(): void {
    if (this.#disposed) return;
    this.#doubtUntil = performance.now() + GAP_TIMEOUT_MS;
    this.#request();
  }

  /** Another worker has begun the same request. */
  onRival(): void {
    if (this.#rival) return;
    const until = performance.now() +
      Math.min(RIVAL_TIMEOUT_MS, this.#gapTimeout);
    this.#rival = setDeadline(until, () => this.#receiver.superseded());
    this.onReconnect();
  }

  #clearRival(): void {
    if (this.#rival) clearDeadline(this.#rival);
    this.#rival = undefined;
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#clearRival();
    clearDeadline(this.#limit);
    clearDeadline(this.#next);
  }

  /** The worker was heard. */
  onReply(): void {
    if (this.#disposed) return;
    const { missing, ended, upcoming } = this.#receiver;
    if (ended) return this[Symbol.dispose]();
    this.#clearRival();
    this.#heardAt = performance.now();
    this.#doubtUntil = -Infinity;
    const before = this.#awaited;
    this.#awaited = missing ? upcoming : 0;
    if (this.#awaited === before) return;
    clearDeadline(this.#limit);
    if (!missing) return;
    const until = this.#heardAt + this.#gapTimeout;
    this.#limit = setDeadline(until, () => this.#receiver.lost());
    if (before === 0) this.#request(); // else the requested items are coming
  }

  /** Requests the missing items, and checks later whether they came. */
  #request(): void {
    this.#requestItems();
    const now = performance.now();
    const troubled = this.#awaited > 0 || now < this.#doubtUntil;
    this.#checkAt(now + (troubled ? RETRY_INTERVAL_MS : MAX_SILENCE_MS));
  }

  #check(): void {
    const now = performance.now();
    const quietAt = this.#heardAt + MAX_SILENCE_MS;
    const troubled = this.#awaited > 0 || now < this.#doubtUntil;
    if (troubled || now >= quietAt) this.#request();
    else this.#checkAt(quietAt);
  }

  #checkAt(at: number): void {
    clearDeadline(this.#next);
    this.#next = setDeadline(at, () => this.#check());
  }
}

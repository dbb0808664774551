/** Recovery of the items of a stream that were lost on the way to the reader. @module */
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
 * Milliseconds in which the worker must send something after another worker has started the same request. Until then,
 * the first worker may only have lost its connection to the broker for a moment.
 */
const RIVAL_TIMEOUT_MS = 5_000;
/** Milliseconds of silence after which the ending may be missing: a worker sends a heartbeat every five seconds. */
const MAX_SILENCE_MS = 7_500;

/** Gap recovery of a reader. The worker resends items from its `ReplayBuffer`. */
export class GapRecovery implements Disposable {
  readonly #receiver: StreamReceiver;
  readonly #requestItems: () => void;
  readonly #gapTimeout: number;
  #heardAt = performance.now();
  /** Time until which items that were in transit when the connection was lost may still be received. */
  #doubtUntil = -Infinity;
  /** Number of the first missing item; 0 = none is missing. */
  #awaited = 0;
  #limit = setDeadline(Infinity, () => {});
  #rival: Timer | undefined;
  #disposed = false;
  #next = setDeadline(performance.now() + MAX_SILENCE_MS, () => this.#check());

  /**
   * `requestItems` sends a request for the missing items to the worker; `timeout` is the maximum milliseconds without
   * an item that the reader accepts.
   */
  constructor(
    receiver: StreamReceiver,
    timeout: number,
    requestItems: () => void,
  ) {
    this.#receiver = receiver;
    this.#requestItems = requestItems;
    this.#gapTimeout = Math.min(GAP_TIMEOUT_MS, timeout);
  }

  /** Requests items after a reconnection to the broker. The worker and the inbox may need a little longer to reconnect. */
  onReconnect(): void {
    if (this.#disposed) return;
    this.#doubtUntil = performance.now() + GAP_TIMEOUT_MS;
    this.#request();
  }

  /**
   * Handles that another worker has started the same request: if the first worker stays silent, the stream is
   * interrupted.
   */
  onRival(): void {
    if (this.#rival) return;
    const until = performance.now() +
      Math.min(RIVAL_TIMEOUT_MS, this.#gapTimeout);
    this.#rival = setDeadline(until, () => this.#receiver.failSuperseded());
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

  /** Handles a reply or heartbeat of the worker: requests missing items. */
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
    this.#limit = setDeadline(until, () => this.#receiver.failLost());
    if (before === 0) this.#request(); // otherwise the items have been requested already
  }

  /** Requests the missing items, and schedules a check of their arrival. */
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

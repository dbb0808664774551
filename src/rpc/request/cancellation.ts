/** Cancellation of a request: its signal, the timer of its deadline, and returned heartbeats. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import type { Settlement } from "./settlement.ts";

/**
 * Milliseconds after which a caller has declared its reply queue again, if it lost the queue with its connection; also
 * the time after which the return of a heartbeat is forgotten.
 */
const QUEUE_RESTORED_MS = 900;
const LOSS_FORGOTTEN_MS = 30_000;

/**
 * Cancels one request, at most once.
 *
 * The `AbortController` is created with each request, although most requests do not need it: the context has its signal
 * as an own property, and an accessor instead would cost ten times as much as the controller.
 */
export class Cancellation {
  readonly #controller = new AbortController();
  readonly #settlement: Settlement;
  #cancelled = false;
  #timer: Timer | undefined;
  #listener: (() => void) | undefined;
  #heartbeats: HeartbeatReturns | undefined;

  /** Cancels a request whose delivery is settled by `settlement`. */
  constructor(settlement: Settlement) {
    this.#settlement = settlement;
  }

  /** Signal of the handler. It fires when the request is cancelled, and at the handler's `maxDuration`. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** True once no caller waits for the result any more. */
  get cancelled(): boolean {
    return this.#cancelled;
  }

  /** Calls `listener` when the request is cancelled, before the signal fires. There is one listener; undefined removes it. */
  listen(listener: (() => void) | undefined): void {
    this.#listener = listener;
  }

  /** Calls `expired` at a time in milliseconds of the monotonic clock, unless the request is cancelled or `clearTimer` called before. */
  setTimer(at: number, expired: () => void): void {
    this.#timer = setDeadline(at, expired);
  }

  /** Stops the timer. */
  clearTimer(): void {
    if (this.#timer) clearDeadline(this.#timer);
  }

  /**
   * Cancels the request because no caller waits for its result. The delivery is acknowledged at once, even if the
   * handler continues, because no other worker needs to run the request either.
   */
  cancel(reason: Error): void {
    if (this.#cancelled) return;
    this.#settlement.complete();
    this.abort(reason);
  }

  /** Cancels the request here without settling its delivery, because another worker has the request or will get it. */
  abort(reason: Error): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    this.clearTimer(); // the timer of a handler that never ends must not keep the process alive
    this.#listener?.();
    this.#controller.abort(reason);
  }

  /** Fires the signal of a handler that has exceeded its `maxDuration`. The caller still waits for the reply. */
  interrupt(reason: Error): void {
    this.#controller.abort(reason);
  }

  /** Notes the message id of the last heartbeat that was sent to the caller. */
  heartbeatSent(message: string | undefined): void {
    this.#heartbeats ??= new HeartbeatReturns();
    this.#heartbeats.last = message;
  }

  /** Reports a returned message. True if the caller is gone: two heartbeats in a row found no queue. */
  heartbeatReturned(returned: string | undefined): boolean {
    return this.#heartbeats?.returned(returned) ?? false;
  }
}

/** Heartbeats of one call that were returned because no queue took them. */
class HeartbeatReturns {
  /** Id of the last heartbeat. */
  last: string | undefined;
  #returnedAt = -Infinity;

  /**
   * Notes a returned message. True if the caller is gone: a first heartbeat may be returned while the caller declares
   * its queue again after a lost connection, a second one soon after may not.
   */
  returned(message: string | undefined): boolean {
    if (message === undefined || message !== this.last) return false;
    const since = performance.now() - this.#returnedAt;
    if (since > LOSS_FORGOTTEN_MS) this.#returnedAt = performance.now();
    return since >= QUEUE_RESTORED_MS && since <= LOSS_FORGOTTEN_MS;
  }
}

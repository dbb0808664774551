/** Signs of life that a worker sent for one call, and those that came back. @module */

/** Milliseconds in which a caller's queue is made anew after a loss, and after which an old loss tells nothing. */
const RESTORED = 900;
const FORGIVEN = 30_000;

/** The signs of life of one call. */
export class HeartbeatReturns {
  /** Id of the message that was sent last. */
  last: string | undefined;
  #returnedAt = -Infinity;

  /**
   * A message came back, since no queue took it. True if the caller is gone: one sign of life may find no queue while that
   * is made anew after a loss, a second one soon after may not.
   */
  returned(message: string | undefined): boolean {
    if (message === undefined || message !== this.last) return false;
    const since = performance.now() - this.#returnedAt;
    if (since > FORGIVEN) this.#returnedAt = performance.now();
    return since >= RESTORED && since <= FORGIVEN;
  }
}

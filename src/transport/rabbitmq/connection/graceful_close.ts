/**
 * Graceful close: waits for the replies of the broker when something is closed, as long as the broker replies at all.
 *
 * @module
 */
import type { Channel, Connection } from "../../../amqp/mod.ts";
import { withDeadline } from "../../../async/deadline.ts";

/** Default limit of one wait, in milliseconds. */
const REPLY_TIMEOUT_MS = 1_000;

const UNANSWERED = Symbol("unanswered");

/**
 * Graceful close of one transport. Once the broker has not replied in time, later waits end at once, until the broker
 * sends anything.
 */
export class GracefulClose {
  /** True if the broker has sent nothing since a reply was overdue. */
  #silent = false;

  /** Records that the broker has sent something. */
  onReceived(): void {
    this.#silent = false;
  }

  /**
   * Waits for a reply, for at most `ms` milliseconds (default 1000); not at all while the broker is silent. Returns
   * false if there was none.
   */
  async waitForReply(
    answer: Promise<unknown>,
    ms = REPLY_TIMEOUT_MS,
  ): Promise<boolean> {
    const deadline = performance.now() + (this.#silent ? 0 : ms);
    try {
      await withDeadline(answer, { at: deadline }, () => UNANSWERED);
    } catch (error) {
      if (error !== UNANSWERED) return true; // the request was refused, or the connection was lost
      this.#silent = true;
      return false;
    }
    return true;
  }

  /** Closes a channel or a connection; without the reply of the broker if it does not come in time. */
  async close(target: Pick<Channel | Connection, "close">): Promise<void> {
    const closing = target.close();
    if (!await this.waitForReply(closing)) await target.close(0);
  }
}

/**
 * Flow control of streams for readers that grant no credit: the worker asks the broker for the number of unread
 * messages in their queue.
 *
 * @module
 */
import { InterruptedError, TopologyError } from "../../errors.ts";
import { delay } from "../../async/deadline.ts";
import type { Deadline, QueueState } from "../../transport/transport.ts";
import { markDispatchError } from "../dispatch/handler_result.ts";

/** Number of items between two checks of the queue. */
const CHECK_EVERY_ITEMS = 250;
/** Number of unread messages in the queue above which the stream waits. */
const MAX_UNREAD = 1_000;
/** Maximum number of items sent to a queue whose messages the broker does not count for this connection. */
const MAX_UNCOUNTED_ITEMS = 10_000;
/** Milliseconds until the first check while the stream waits; the interval doubles with each check, up to the maximum. */
const MIN_CHECK_INTERVAL_MS = 250;
const MAX_CHECK_INTERVAL_MS = 4_000;
/** Milliseconds for which a queue may have no consumer, e.g. while its reader reconnects. */
const READER_TIMEOUT_MS = 5_000;
/** Time limit of one check of the queue, in milliseconds. */
const INSPECT_TIMEOUT_MS = 5_000;

/** Sender of a stream. */
export interface Sender {
  /** Reply queue of the reader. */
  readonly reader: string | undefined;
  /** Fires when the call has ended. */
  readonly signal: AbortSignal;
  /** Ends the stream. */
  end(reason: string): void;
}

/** Asks the broker for the state of a queue; undefined if the queue does not exist. */
export type Inspect = (
  queue: string,
  deadline: Deadline,
) => Promise<QueueState | undefined>;

/** Queue of a reader that grants no credit. */
export class ReaderQueue {
  readonly #inspect: Inspect;
  readonly #sender: Sender;
  #counted = true;

  /** Creates the flow control; nothing is sent to the broker yet. */
  constructor(sender: Sender, inspect: Inspect) {
    this.#sender = sender;
    this.#inspect = inspect;
  }

  /** True if the item of this number may be sent without a check of the queue. */
  hasRoom(item: number): boolean {
    return this.#counted && !isChecked(item);
  }

  /**
   * Resolves when the item of this number may be sent; to false if the call has ended.
   *
   * @throws {InterruptedError} the stream has too many items for a queue whose messages the broker does not count.
   */
  async room(item: number): Promise<boolean> {
    const { signal } = this.#sender;
    if (this.#counted && isChecked(item)) await this.#waitUntilRead();
    if (!this.#counted && item > MAX_UNCOUNTED_ITEMS) {
      throw uncountedError(item - 1);
    }
    return !signal.aborted;
  }

  /** Returns the state of the queue; undefined if it does not exist, `locked` if it belongs to another connection. */
  async #stateBy(
    deadline: Deadline,
  ): Promise<QueueState | "locked" | "unknown" | undefined> {
    try {
      return await this.#inspect(this.#sender.reader ?? "", deadline);
    } catch (error) {
      const locked = error instanceof TopologyError &&
        error.data.reason === "inUse";
      return locked ? "locked" : "unknown";
    }
  }

  /** Waits while the queue has too many unread messages; ends the stream if the queue has no consumer. */
  async #waitUntilRead(): Promise<void> {
    const { signal } = this.#sender;
    let end = Infinity;
    for (let ms = MIN_CHECK_INTERVAL_MS; !signal.aborted; ms *= 2) {
      const deadline = performance.now() + INSPECT_TIMEOUT_MS;
      const state = await this.#stateBy({ at: deadline, signal });
      this.#counted = state !== "locked";
      if (!this.#counted) return; // an exclusive queue is deleted with its reader's connection, so the reader is alive
      const isRead = typeof state === "object" && state.consumers > 0;
      if (isRead && state.messages <= MAX_UNREAD) return;
      // a missing reply of the broker does not end the stream
      end = isRead || state === "unknown"
        ? Infinity
        : Math.min(end, performance.now() + READER_TIMEOUT_MS);
      if (performance.now() >= end) {
        return this.#sender.end("nobody reads its answers any more");
      }
      const interval = Math.min(ms, MAX_CHECK_INTERVAL_MS);
      await delay(interval, { at: end, signal }).catch(() => {});
    }
  }
}

/** True for an item before which the queue is checked. */
const isChecked = (item: number): boolean =>
  item % CHECK_EVERY_ITEMS === 1 && item > 1;

/** Error for the reader of a stream that is too long for a queue without a count. */
function uncountedError(sequence: number): InterruptedError {
  const text =
    `The stream was interrupted after item ${sequence}: the queue of its reader is exclusive, so it cannot be told how many items wait there`;
  return markDispatchError(new InterruptedError(text, { data: { sequence } }));
}

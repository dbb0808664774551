/** Flow control of streams: how many items a worker may send that its reader has not read yet. @module */
import type { Reply } from "../../wire/mod.ts";

/** Position of a message in a stream: its sequence number, and the id of the run that sent it. */
export type StreamPosition = Pick<Reply, "sequence" | "runId">;

/** Items that a worker may send beyond those that its reader has read. */
export const INITIAL_CREDIT = 32;
/**
 * Items that are read between two grants of credit. A reader with as many unread items may not have granted more yet,
 * so a worker that sends nothing may be waiting for credit.
 */
const GRANT_EVERY_ITEMS = INITIAL_CREDIT / 2;

/** Maximum number of items that a worker sends beyond the last granted one, whatever credit a reader sends. */
const MAX_CREDIT = 10_000;

/** Window of the worker: the next item is requested from the handler only when the reader has room for it. */
export class SendWindow {
  #granted: number;
  /** Number of the item that is sent next. */
  #item = 0;
  #onGrant: (() => void) | undefined;

  /** Creates a window that is open up to item `granted`; without it, the window is never closed. */
  constructor(granted = Infinity) {
    this.#granted = granted === Infinity
      ? Infinity
      : Math.min(granted, MAX_CREDIT);
  }

  /** Opens the window up to an item. A grant that arrives twice or late changes nothing. */
  grant(upTo: number): void {
    const limit = Math.min(upTo, this.#item + MAX_CREDIT);
    this.#granted = Math.max(this.#granted, limit);
    this.#onGrant?.();
  }

  /** Resolves when the item of this number may be sent; to false if the signal fires first. */
  async room(item: number, signal: AbortSignal): Promise<boolean> {
    this.#item = item;
    while (item > this.#granted && !signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const wake = this.#onGrant = () => resolve();
      signal.addEventListener("abort", wake);
      await promise;
      signal.removeEventListener("abort", wake);
    }
    return !signal.aborted;
  }
}

/** Window of the reader: counts what was read, and how much more the worker may send. */
export class ReceiveWindow {
  #granted = INITIAL_CREDIT;
  #read = 0;

  /** Number of the last item that the worker may send. */
  get granted(): number {
    return this.#granted;
  }

  /** Counts an item that was read; returns true if more credit should be granted to the worker. */
  read(): boolean {
    this.#read++;
    if (this.#granted - this.#read > GRANT_EVERY_ITEMS) return false;
    this.#granted = this.#read + INITIAL_CREDIT;
    return true;
  }

  /** True if a worker may be waiting for credit, given this number of unread items. */
  static full(unread: number): boolean {
    return unread >= GRANT_EVERY_ITEMS;
  }
}

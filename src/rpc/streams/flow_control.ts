/** Flow control of streams: how many items a worker may send that its reader has not read yet. @module */
import type { Reply } from "../../wire/mod.ts";
import type { Credit } from "../control_targets.ts";

/** Position of a message in a stream: its sequence number, and the id of the run that sent it. */
export type StreamPosition = Pick<Reply, "sequence" | "runId">;

/** Items that a worker may send beyond those that its reader has read, before the reader's window grows. */
export const INITIAL_CREDIT = 32;
/** Maximum number of unread items of a stream, which a worker can store for resending. */
export const MAX_WINDOW_ITEMS = 1_024;
/** Maximum bytes of unread items of a stream. A worker may send 32 items that have more. */
export const MAX_WINDOW_BYTES = 1024 * 1024;

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

  /** True if the item of this number exceeds the credit. */
  exceeds(item: number): boolean {
    this.#item = item;
    return item > this.#granted;
  }

  /** Resolves at the next grant, or when the signal fires. */
  async granted(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = this.#onGrant = () => resolve();
    signal.addEventListener("abort", wake);
    await promise;
    signal.removeEventListener("abort", wake);
  }
}

/**
 * Window of the reader: counts what was read, and how much more the worker may send. The window grows when both ends
 * wait for each other: the worker for credit, and the reader for items.
 */
export class ReceiveWindow {
  #items = INITIAL_CREDIT;
  #granted = INITIAL_CREDIT;
  #read = 0;
  /** Bytes that were read since the last grant. */
  #bytes = 0;

  /** Credit of the worker. */
  get credit(): Required<Credit> {
    return { upTo: this.#granted, read: this.#read };
  }

  /** Number of the last item that the worker may send. */
  get granted(): number {
    return this.#granted;
  }

  /** Counts an item that was read; returns true if more credit should be granted to the worker. */
  read(bytes: number): boolean {
    this.#read++;
    this.#bytes += bytes;
    const left = this.#granted - this.#read;
    const isEarly = left > this.#items / 2 &&
      this.#bytes < MAX_WINDOW_BYTES / 2;
    if (!isEarly) this.#grant();
    return !isEarly;
  }

  /** Doubles the window, up to the number of items that the worker can store. The next item that is read grants them. */
  grow(maxItems: number): void {
    const items = Math.min(2 * this.#items, maxItems, MAX_WINDOW_ITEMS);
    this.#items = Math.max(items, this.#items);
  }

  #grant(): void {
    this.#granted = this.#read + this.#items;
    this.#bytes = 0;
  }

  /**
   * True if the reader may have granted no credit beyond these unread items and bytes, so that a worker that sends
   * nothing may be waiting for credit.
   */
  full(unread: number, bytes: number): boolean {
    return unread > this.#items / 2 || bytes >= MAX_WINDOW_BYTES / 2;
  }
}

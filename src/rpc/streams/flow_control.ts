/** How far a stream may run ahead of its reader. @module */
import type { Reply } from "../../wire/mod.ts";

/** The last item of a stream that has been sent, and the run that it is of. */
export type StreamPosition = Pick<Reply, "sequence" | "runId">;

/** Items that a worker may send beyond those that were read. */
export const INITIAL_CREDIT = 32;
/** Items that are read before the worker is told so; a reader that holds as many has no cause to wonder at silence. */
const STEP = INITIAL_CREDIT / 2;

/** Items at most that a worker runs ahead of what its reader has last said, whatever that is. */
const MAX_CREDIT = 10_000;

/** The worker's side: the next item is not even asked of the handler before its reader has room for it. */
export class SendWindow {
  #granted: number;
  /** The last item for which room was asked. */
  #item = 0;
  #more: (() => void) | undefined;

  /** Without `granted`, the reader takes whatever comes. */
  constructor(granted = Infinity) {
    this.#granted = granted === Infinity
      ? Infinity
      : Math.min(granted, MAX_CREDIT);
  }

  /** Items up to that one may come. Said twice, or late, it changes nothing. */
  grant(upTo: number): void {
    const most = Math.min(upTo, this.#item + MAX_CREDIT);
    this.#granted = Math.max(this.#granted, most);
    this.#more?.();
  }

  /** Resolves when the item of that number may come; to false if the signal fires before. */
  async room(item: number, signal: AbortSignal): Promise<boolean> {
    this.#item = item;
    while (item > this.#granted && !signal.aborted) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const more = this.#more = () => resolve();
      signal.addEventListener("abort", more);
      await promise;
      signal.removeEventListener("abort", more);
    }
    return !signal.aborted;
  }
}

/** The reader's side. */
export class ReceiveWindow {
  /** Items up to that one may come. */
  granted = INITIAL_CREDIT;
  #read = 0;

  /** One more was read. True if the worker should be told so. */
  read(): boolean {
    this.#read++;
    if (this.granted - this.#read > STEP) return false;
    this.granted = this.#read + INITIAL_CREDIT;
    return true;
  }

  /** Whether a worker may be waiting for room while so many items wait to be read. */
  static full(unread: number): boolean {
    return unread >= STEP;
  }
}

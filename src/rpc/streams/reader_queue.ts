/** How far a stream may run ahead of a reader that says nothing of what it has read: the broker is asked for its queue. @module */
import { InterruptedError, TopologyError } from "../../errors.ts";
import { delay } from "../../async/deadline.ts";
import type { Deadline, QueueState } from "../../transport/transport.ts";
import { markDispatchError } from "../dispatch/handler_result.ts";

/** Items between two looks at the queue, and messages that may wait there unread. */
const CHECK_EVERY_ITEMS = 250;
const MAX_UNREAD = 1_000;
/** Items at most to a queue of which the broker does not say how much waits there. */
const UNCOUNTED = 10_000;
/** Milliseconds between two looks while the stream waits: they double up to the second figure. */
const AGAIN = { first: 250, longest: 4_000 };
/** Milliseconds that a queue may be without a reader, e.g. while that comes back after a loss. */
const PATIENCE = 5_000;
/** Milliseconds that the broker has for one answer. */
const ANSWER = 5_000;

/** Who sends to it. */
export interface Sender {
  /** Fires when nobody waits any more. */
  readonly signal: AbortSignal;
  /** Nobody reads. */
  end(reason: string): void;
}

/** Asks the broker for a queue. */
export type Inspect = (
  queue: string,
  deadline: Deadline,
) => Promise<QueueState | undefined>;

/** The queue of a reader without credit. */
export class ReaderQueue {
  readonly #name: string;
  readonly #inspect: Inspect;
  readonly #sender: Sender;
  #counted = true;

  /** Nothing is asked yet. */
  constructor(name: string, inspect: Inspect, sender: Sender) {
    this.#name = name;
    this.#inspect = inspect;
    this.#sender = sender;
  }

  /**
   * Resolves when an item of that number may come; to false if nobody waits for it any more.
   *
   * @throws {InterruptedError} there are too many items for a queue whose messages cannot be counted.
   */
  async room(item: number): Promise<boolean> {
    const { signal } = this.#sender;
    if (this.#counted && item % CHECK_EVERY_ITEMS === 1 && item > 1) {
      await this.#look();
    }
    if (!this.#counted && item > UNCOUNTED) throw uncounted(item - 1);
    return !signal.aborted;
  }

  /** State of the queue; undefined if it does not exist, `locked` if it belongs to another connection. */
  async #stateBy(
    deadline: Deadline,
  ): Promise<QueueState | "locked" | "unknown" | undefined> {
    try {
      return await this.#inspect(this.#name, deadline);
    } catch (error) {
      const locked = error instanceof TopologyError &&
        error.data.reason === "inUse";
      return locked ? "locked" : "unknown";
    }
  }

  /** Waits while too much is unread; ends the sender if nobody reads. */
  async #look(): Promise<void> {
    const { signal } = this.#sender;
    let end = Infinity;
    for (let ms = AGAIN.first; !signal.aborted; ms *= 2) {
      const deadline = performance.now() + ANSWER;
      const state = await this.#stateBy({ at: deadline, signal });
      this.#counted = state !== "locked";
      if (!this.#counted) return; // it goes with its owner, who lives
      const read = typeof state === "object" && state.consumers > 0;
      if (read && state.messages <= MAX_UNREAD) return;
      // What cannot be told now does not end a stream.
      end = read || state === "unknown"
        ? Infinity
        : Math.min(end, performance.now() + PATIENCE);
      if (performance.now() >= end) {
        return this.#sender.end("nobody reads its answers any more");
      }
      const wait = { at: end, signal };
      await delay(Math.min(ms, AGAIN.longest), wait).catch(() => {});
    }
  }
}

/** The reader is told, who may be one that reads all the same. */
function uncounted(sequence: number): InterruptedError {
  const text =
    `The stream was interrupted after item ${sequence}: the queue of its reader is exclusive, so it cannot be told how many items wait there`;
  return markDispatchError(new InterruptedError(text, { data: { sequence } }));
}

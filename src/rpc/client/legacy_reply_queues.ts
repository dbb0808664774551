/** Where servers answer that know no reply queue: a queue of each call's own (Folsom `rpc/amqp.py`, `msg_reply`). @module */
import { TopologyError } from "../../errors.ts";
import type { Deadline } from "../../async/deadline.ts";
import type { Inbox } from "../inbox.ts";

/**
 * Whether such servers are reckoned with: `never`, `always`, or until one that is no such server has answered for a queue.
 */
export type LegacyPeers = "never" | "learn" | "always";

/** Makes those queues. */
export class LegacyReplyQueues {
  readonly #inbox: Inbox;
  readonly #mode: LegacyPeers;
  /** Queues whose servers know the reply queue. */
  readonly #newer = new Set<string>();

  /** They are read with an inbox. */
  constructor(inbox: Inbox, mode: LegacyPeers) {
    this.#inbox = inbox;
    this.#mode = mode;
  }

  /** True if the server of a queue may need one. */
  needs(queue: string): boolean {
    return this.#mode !== "never" && !this.#newer.has(queue);
  }

  /**
   * Makes one for a call; it is gone when that is disposed. Undefined where the user may not, and the server may do without.
   *
   * @throws {TopologyError} the user may not, and the server answers in no other way.
   */
  async prepare(
    call: string,
    deadline: Deadline,
  ): Promise<Disposable | undefined> {
    const made = await this.#inbox.answersTo(call, deadline);
    if (made || this.#mode !== "always") return made;
    throw new TopologyError(
      `Cannot declare exchange and queue ${call}, where servers of Folsom answer: the user lacks the permission; grant it, or use another dialect`,
      { data: { entity: `exchange ${call}`, reason: "forbidden" } },
    );
  }

  /** An answer came, in which only an old server leaves out the id of the call; or none did. */
  learn(queue: string, call: string | undefined): void {
    if (this.#mode !== "learn") return;
    if (call === undefined) this.#newer.delete(queue);
    else this.#newer.add(queue);
  }
}

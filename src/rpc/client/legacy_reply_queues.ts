/** Reply queues of single calls, for servers that know no reply queue of a process (Folsom `rpc/amqp.py`, `msg_reply`). @module */
import { TopologyError } from "../../errors.ts";
import type { Deadline } from "../../async/deadline.ts";
import type { Inbox } from "../inbox.ts";
import type { LegacyPeers } from "../messaging.ts";

/** Declares reply queues that are named after their call. */
export class LegacyReplyQueues {
  readonly #inbox: Inbox;
  readonly #mode: LegacyPeers;
  /** Queues whose servers know the reply queue. */
  readonly #newer = new Set<string>();

  /** The inbox reads the queues. */
  constructor(inbox: Inbox, mode: LegacyPeers) {
    this.#inbox = inbox;
    this.#mode = mode;
  }

  /** True if the servers of a queue may answer to the queue of a call alone. */
  needs(queue: string): boolean {
    return this.#mode !== "never" && !this.#newer.has(queue);
  }

  /**
   * Declares the reply queue of a call, until disposed. Undefined where the user lacks the permission and the server may
   * answer to the inbox.
   *
   * @throws {TopologyError} the user lacks the permission, and the server answers in no other way.
   */
  async prepare(
    call: string,
    deadline: Deadline,
  ): Promise<Disposable | undefined> {
    const queue = await this.#inbox.callQueues.open(call, deadline);
    if (queue || this.#mode !== "always") return queue;
    throw new TopologyError(
      `Cannot declare exchange and queue ${call}, where servers of Folsom answer: the user lacks the permission; grant it, or use another dialect`,
      { data: { entity: `exchange ${call}`, reason: "forbidden" } },
    );
  }

  /** Learns from a reply, in which only an old server leaves out the id of the call, or from a timeout, which has none. */
  learn(queue: string, call: string | undefined): void {
    if (this.#mode !== "learn") return;
    if (call === undefined) this.#newer.delete(queue);
    else this.#newer.add(queue);
  }
}

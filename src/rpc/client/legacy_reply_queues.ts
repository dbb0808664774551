/** Reply queues of single calls, for servers that know no reply queue of a process (Folsom `rpc/amqp.py`, `msg_reply`). @module */
import { TopologyError } from "../../errors.ts";
import type { Deadline } from "../../async/deadline.ts";
import type { Inbox } from "../inbox.ts";
import type { LegacyPeers } from "../messaging.ts";

/** Declares reply queues that are named after their call. */
export class LegacyReplyQueues {
  readonly #inbox: Inbox;
  readonly #mode: LegacyPeers;
  /** Request queues whose servers reply to the inbox of the process. */
  readonly #newer = new Set<string>();

  /** `inbox` consumes the reply queues; `mode` selects the calls that get one. */
  constructor(inbox: Inbox, mode: LegacyPeers) {
    this.#inbox = inbox;
    this.#mode = mode;
  }

  /** True if the servers of a request queue may reply only to a queue named after the call. */
  needs(queue: string): boolean {
    return this.#mode !== "never" && !this.#newer.has(queue);
  }

  /**
   * Declares the reply queue of a call, until disposed. Resolves to undefined if the user lacks the permission but the
   * server may reply to the inbox.
   *
   * @throws {TopologyError} the user lacks the permission, and the server can only reply to this queue.
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

  /**
   * Learns which servers serve a queue. An old server's reply has no call id; a timeout (`call` undefined) may mean
   * that an old server serves the queue now.
   */
  learn(queue: string, call: string | undefined): void {
    if (this.#mode !== "learn") return;
    if (call === undefined) this.#newer.delete(queue);
    else this.#newer.add(queue);
  }
}

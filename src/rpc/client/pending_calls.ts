/** The calls of one connection context that wait for an answer. @module */
import { direct } from "../../transport/address.ts";
import type { Message, Session } from "../../transport/transport.ts";
import { type Control, encodeControl } from "../../wire/mod.ts";
import { newId } from "../../ids.ts";
import type { Inbox, PendingReply } from "../inbox.ts";

/** Milliseconds to get a control to the connection. */
const CONTROL_TIMEOUT_MS = 500;

/** What a reader misses of a stream: from which item on, of which run, and up to which one it has room. */
export type ResumePoint = Pick<Control, "sequence" | "runId" | "credit">;

/** Who waits for what. */
export class PendingCalls {
  readonly #session: Session;
  readonly #inbox: Inbox;
  readonly #canceller = (call: string, worker: string) =>
    this.cancel(call, worker);

  /** Answers come to the inbox; controls go out on the transport. */
  constructor(session: Session, inbox: Inbox) {
    this.#session = session;
    this.#inbox = inbox;
    inbox.cancellers.add(this.#canceller);
  }

  /**
   * Answers to a call go to `pending` from now on.
   *
   * @throws {ConnectionFailedError} none can come: the link is given up.
   */
  add(call: string, pending: PendingReply): void {
    this.#inbox.expect({ call, pending, owner: this });
  }

  /** Nobody waits for them any more. */
  remove(call: string): void {
    this.#inbox.pending.delete(call);
  }

  /**
   * Tells the worker that nobody waits any more. One that has not shown itself yet is told by the inbox, at its first
   * sign of life.
   */
  cancel(call: string, worker: string | undefined): void {
    void this.#control(worker, { command: "cancel", call });
  }

  /** Tells the worker of a stream that items up to a number may come. */
  credit(call: string, worker: string | undefined, upTo: number): void {
    void this.#control(worker, { command: "credit", call, credit: upTo });
  }

  /** Asks the worker of a stream for what is missing, and says how much may come. */
  resume(call: string, worker: string | undefined, wanted: ResumePoint): void {
    void this.#control(worker, { command: "resume", call, ...wanted });
  }

  /** Fails all of them, and tells their workers. */
  async close(error: () => Error): Promise<void> {
    this.#inbox.cancellers.delete(this.#canceller);
    const calls = [...this.#inbox.pending].filter(({ owner }) =>
      owner === this
    );
    const told = calls.map(({ call, pending: { worker } }) =>
      this.#control(worker, { command: "cancel", call })
    );
    for (const { pending } of calls) pending.fail(error());
    await Promise.all(told);
  }

  async #control(
    worker: string | undefined,
    said: Omit<Control, "kind">,
  ): Promise<void> {
    if (worker === undefined) return;
    const message: Message = {
      ...encodeControl({ kind: "control", ...said }),
      messageId: newId(),
      correlationId: said.call,
      replyTo: this.#inbox.name,
    };
    const wait = { at: performance.now() + CONTROL_TIMEOUT_MS };
    // If it does not get through, the worker still has its deadline, and gives signs of life that are answered by credit.
    await this.#session.send(direct(worker), message, wait).catch(() => {});
  }
}

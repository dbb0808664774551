/** The calls of one connection context that wait for an answer. @module */
import { direct } from "../../transport/address.ts";
import type { Message, Session } from "../../transport/transport.ts";
import { type Control, encodeControl } from "../../wire/mod.ts";
import { newId } from "../../ids.ts";
import type { Inbox, PendingReply } from "../inbox.ts";

/** Milliseconds in which a control has to reach the connection. */
const CONTROL_TIMEOUT_MS = 500;

/** Position from which a reader misses items of a stream: item, run, and the last item that may be sent. */
export type ResumePoint = Pick<Control, "sequence" | "runId" | "credit">;

/** Calls of one client that wait for replies, and the controls that their workers are sent. */
export class PendingCalls {
  readonly #session: Session;
  readonly #inbox: Inbox;
  readonly #listening: Disposable;

  /** Replies come to the inbox; controls are sent on the session. */
  constructor(session: Session, inbox: Inbox) {
    this.#session = session;
    this.#inbox = inbox;
    this.#listening = inbox.onUnmatchedReply((call, worker) =>
      this.cancel(call, worker)
    );
  }

  /**
   * Replies to a call go to `pending` from now on.
   *
   * @throws {ConnectionFailedError} no reply can come, since the transport has given up.
   */
  add(call: string, pending: PendingReply): void {
    this.#inbox.expect({ call, pending, owner: this });
  }

  /** Replies to a call are unmatched from now on. */
  remove(call: string): void {
    this.#inbox.pending.delete(call);
  }

  /**
   * Tells the worker that nobody waits any more. A worker that is not known yet is told by the inbox, after its first
   * reply or heartbeat.
   */
  cancel(call: string, worker: string | undefined): void {
    void this.#control(worker, { command: "cancel", call });
  }

  /** Tells the worker of a stream that items up to a number may come. */
  credit(call: string, worker: string | undefined, upTo: number): void {
    void this.#control(worker, { command: "credit", call, credit: upTo });
  }

  /** Requests the missing items of a stream from its worker, and tells it the last item that may be sent. */
  resume(call: string, worker: string | undefined, wanted: ResumePoint): void {
    void this.#control(worker, { command: "resume", call, ...wanted });
  }

  /** Fails all calls, and tells their workers. */
  async close(error: () => Error): Promise<void> {
    this.#listening[Symbol.dispose]();
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
    control: Omit<Control, "kind">,
  ): Promise<void> {
    if (worker === undefined) return;
    const message: Message = {
      ...encodeControl({ kind: "control", ...control }),
      messageId: newId(),
      correlationId: control.call,
      replyTo: this.#inbox.name,
    };
    const wait = { at: performance.now() + CONTROL_TIMEOUT_MS };
    // If the control is lost, the worker still has its deadline, and sends heartbeats that are answered by credit.
    await this.#session.send(direct(worker), message, wait).catch(() => {});
  }
}

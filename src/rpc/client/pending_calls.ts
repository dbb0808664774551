/** Calls of one connection context that wait for a reply. @module */
import { direct } from "../../transport/address.ts";
import type { Message, Session } from "../../transport/transport.ts";
import { type Control, encodeControl } from "../../wire/mod.ts";
import { newId } from "../../ids.ts";
import type { Inbox, PendingReply } from "../inbox.ts";
import type { Credit } from "../control_targets.ts";
import type { LegacyReplyQueues } from "../call_queues.ts";
import type { MessagingResources } from "../messaging.ts";
import type { RequestEncoder } from "./request_encoder.ts";

/** Collaborators of a client's calls. */
export interface CallResources extends MessagingResources {
  /** Encodes requests. */
  readonly encoder: RequestEncoder;
  /** Calls that wait for a reply. */
  readonly pendingCalls: PendingCalls;
  /** Reply queues for old servers. */
  readonly legacyReplyQueues: LegacyReplyQueues;
}

/** Milliseconds in which a control command has to be sent. */
const CONTROL_TIMEOUT_MS = 500;

/** Position from which a reader misses items of a stream. */
export type ResumePoint = Pick<Control, "sequence" | "runId">;

/** Calls of one client that wait for replies, and the control commands that it sends to their workers. */
export class PendingCalls {
  readonly #session: Session;
  readonly #inbox: Inbox;
  readonly #listening: Disposable;

  /** `inbox` receives the replies; control commands are sent on `session`. */
  constructor(session: Session, inbox: Inbox) {
    this.#session = session;
    this.#inbox = inbox;
    this.#listening = inbox.onUnmatchedReply((call, worker) =>
      this.cancel(call, worker)
    );
  }

  /**
   * Registers a call, whose replies `pending` receives from now on.
   *
   * @throws {ConnectionFailedError} the transport has failed for good, so no reply can be received.
   */
  add(call: string, pending: PendingReply): void {
    this.#inbox.expect({ call, pending, owner: this });
  }

  /** Removes a call; later replies to it are unmatched. */
  remove(call: string): void {
    this.#inbox.pending.delete(call);
  }

  /**
   * Sends the worker a cancellation. If the worker is still unknown, the connection context sends it after the first
   * reply or heartbeat.
   */
  cancel(call: string, worker: string | undefined): void {
    void this.#control(worker, { command: "cancel", call });
  }

  /** Sends a credit to the worker of a stream. */
  credit(
    call: string,
    worker: string | undefined,
    { upTo: credit, read }: Credit,
  ): void {
    void this.#control(worker, { command: "credit", call, credit, read });
  }

  /** Requests the missing items of a stream from its worker; the request also has the current credit. */
  resume(
    call: string,
    worker: string | undefined,
    wanted: ResumePoint & Credit,
  ): void {
    const { upTo: credit, ...rest } = wanted;
    void this.#control(worker, { command: "resume", call, credit, ...rest });
  }

  /** Fails all calls, and sends a cancellation to their workers. */
  async close(error: () => Error): Promise<void> {
    this.#listening[Symbol.dispose]();
    const calls = [...this.#inbox.pending].filter(({ owner }) =>
      owner === this
    );
    const cancellations = calls.map(({ call, pending: { worker } }) =>
      this.#control(worker, { command: "cancel", call })
    );
    for (const { pending } of calls) pending.fail(error());
    await Promise.all(cancellations);
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
    const deadline = { at: performance.now() + CONTROL_TIMEOUT_MS };
    // A lost control command does no lasting harm: the worker has its deadline, and its heartbeats make the reader
    // repeat the credit.
    await this.#session.send(direct(worker), message, deadline).catch(() => {});
  }
}

/** Publishes replies to the queues of callers. @module */
import type { StreamPosition } from "../streams/flow_control.ts";
import { NoRouteError } from "../../errors.ts";
import { isTooLarge } from "../../transport/content_errors.ts";
import { delay } from "../../async/deadline.ts";
import { direct } from "../../transport/address.ts";
import type { Deadline, Message, Session } from "../../transport/transport.ts";
import {
  BATCH_VERSION,
  type Dialect,
  encode,
  type Limits,
  type Reply,
  type ReplyAddress,
} from "../../wire/mod.ts";
import {
  type Waiter,
  waitOutsidePrefetch,
} from "../request/outside_prefetch.ts";
import { ReplyBatcher, withoutConfirms } from "./reply_batcher.ts";
import { handleFailure } from "./reply_failure.ts";
import { UnreachableQueues } from "./unreachable_queues.ts";
import { newId } from "../../ids.ts";
import type { Inbox } from "../inbox.ts";

/** Fields of a reply that do not depend on the caller. */
export type ReplyFields = Omit<Reply, "kind" | "id" | "call">;

/** Receiver of a reply, and the dialect that it understands. */
export interface ReplyTarget {
  /** Queue and id of the call. */
  readonly reply: ReplyAddress;
  /** Dialect of the request. */
  readonly dialect: Dialect;
  /** Version of Warren's headers that the caller understands; undefined for other peers, which get no headers. */
  readonly warren?: number | undefined;
  /**
   * False for a reply on whose arrival nothing depends: it is sent without a confirm and once, and may be lost. Default
   * true.
   */
  readonly confirm?: boolean | undefined;
  /** Called if the caller's queue does not exist any more. */
  onGone?(): void;
  /** Request of the reply. After its signal has fired, the publisher no longer waits for an unreachable queue. */
  readonly request?: Waiter & { readonly signal: AbortSignal } | undefined;
}

/** Receiver of a reply that is encoded. */
export type EncodedReplyTarget = Omit<ReplyTarget, "dialect">;

/** Collaborators of a `ReplyPublisher`. */
export interface ReplyPublisherOptions {
  /** Publishes the replies. */
  readonly session: Session;
  /** Inbox of this process; heartbeats contain its name, so that callers can send control commands to it. */
  readonly inbox: Inbox;
  /** Limits on messages. */
  readonly limits: Limits;
}

/** Content of a heartbeat, without the id of the call. */
export interface HeartbeatOptions {
  /** Position of the call's stream. */
  readonly position?: StreamPosition | undefined;
  /** Called with the id of the message before it is sent. */
  readonly onSend?: (message: string | undefined) => void;
}

/** Maximum milliseconds to wait for a caller's queue that is unreachable, and milliseconds between two attempts. */
const UNREACHABLE_TIMEOUT_MS = 5_000;
const RETRY_INTERVAL_MS = 250;

/** Publishes replies to the queues of callers. */
export class ReplyPublisher {
  readonly #session: Session;
  readonly #inbox: Inbox;
  readonly #limits: Limits;
  readonly #unreachable = new UnreachableQueues();
  readonly #confirmed: ReplyBatcher;
  readonly #unconfirmed: ReplyBatcher;

  /** Replies are published on `session`. */
  constructor({ session, inbox, limits }: ReplyPublisherOptions) {
    this.#session = session;
    this.#inbox = inbox;
    this.#limits = limits;
    this.#confirmed = new ReplyBatcher(session, limits);
    this.#unconfirmed = new ReplyBatcher(withoutConfirms(session), limits);
  }

  /** Name of the inbox of this process. */
  get inbox(): string {
    return this.#inbox.name;
  }

  /**
   * Encodes and publishes a reply; resolves when the broker has confirmed it, or without a confirm when it is written to
   * the connection. It also resolves if the caller is gone, or cannot be reached in time, since that is no error of the
   * worker.
   *
   * @throws {InvalidValueError} JSON cannot represent the result; thrown at once.
   * @throws {RejectedError} the broker refuses the reply because of its size.
   */
  send(
    target: ReplyTarget,
    fields: ReplyFields,
    deadline: Deadline,
  ): Promise<void> {
    return this.publish(target, this.message(target, fields), deadline);
  }

  /** Publishes messages that were published before, one after another. */
  async repeat(
    target: EncodedReplyTarget,
    messages: readonly Message[],
    deadline: Deadline,
  ): Promise<void> {
    for (const message of messages) {
      await this.publish(target, message, deadline);
    }
  }

  /**
   * Resends messages that a reader has missed, in order and without confirmations: the reader repeats its request for
   * messages that are still missing.
   */
  async resend(
    queue: string,
    messages: readonly Message[],
    deadline: Deadline,
  ): Promise<void> {
    for (const message of messages) {
      const resend = { ...message, mandatory: false };
      await this.#session.send(direct(queue), resend, deadline);
    }
  }

  /**
   * Sends a heartbeat. It shows the caller that the worker runs its call, which inbox receives control commands, and
   * the stream's position.
   */
  async sendHeartbeat(
    target: ReplyTarget,
    deadline: Deadline,
    { position, onSend }: HeartbeatOptions,
  ): Promise<void> {
    await this.#inbox.ready(deadline);
    const inbox = this.#inbox.name;
    const message = this.message(target, {
      ending: false,
      heartbeat: true,
      inbox,
      ...position,
    });
    onSend?.(message.messageId);
    await this.#session.send(direct(target.reply.queue), message, deadline);
  }

  /** Publishes a message that `message` has encoded; see `send`. */
  publish(
    target: EncodedReplyTarget,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    return this.enqueue(target, message, deadline).catch((error) =>
      this.#recover(error, target, [message], deadline)
    );
  }

  /**
   * Waits until messages that `enqueue` has published are confirmed; `sent` is the promise that they share. If the
   * caller's queue does not exist, publishes the messages again; see `send`.
   */
  complete(
    sent: Promise<void>,
    target: EncodedReplyTarget,
    messages: readonly Message[],
    deadline: Deadline,
  ): Promise<void> {
    return sent.catch((error) =>
      this.#recover(error, target, messages, deadline)
    );
  }

  /** Publishes messages again that could not be published. */
  async #recover(
    error: unknown,
    target: EncodedReplyTarget,
    messages: readonly Message[],
    deadline: Deadline,
  ): Promise<void> {
    const { request } = target;
    if (isTooLarge(error)) {
      return await this.#publishAlone(target, messages, deadline);
    }
    const retry = (signal?: AbortSignal) =>
      this.#retry(error, target, messages, { ...deadline, signal });
    const failure =
      await (request
        ? waitOutsidePrefetch(request, request.signal, retry)
        : retry());
    if (failure !== undefined) handleFailure(failure, () => target.onGone?.());
  }

  /**
   * Publishes a message once. The messages of a turn to the same caller are sent in one message, and share the promise,
   * which rejects if the caller's queue does not exist.
   */
  enqueue(
    { reply: { queue }, warren: version = 0, confirm = true }:
      EncodedReplyTarget,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    const batcher = confirm ? this.#confirmed : this.#unconfirmed;
    if (version < BATCH_VERSION) {
      return batcher.publishAlone(queue, message, deadline);
    }
    const reply = { message, deadline: deadline.at, version };
    return batcher.publish(queue, reply);
  }

  /** Publishes each message by itself, because the broker refuses a batch of its size. */
  async #publishAlone(
    { reply: { queue }, confirm = true }: EncodedReplyTarget,
    messages: readonly Message[],
    deadline: Deadline,
  ): Promise<void> {
    const batcher = confirm ? this.#confirmed : this.#unconfirmed;
    for (const message of messages) {
      await batcher.publishAlone(queue, message, deadline).catch(handleFailure);
    }
  }

  /**
   * Publishes again while the caller's queue does not exist, e.g. during a restart of the broker (oslo.messaging tries
   * for a minute), to the queue that the caller has by then. Resolves to the last error if there is no queue in time.
   */
  async #retry(
    first: unknown,
    target: EncodedReplyTarget,
    messages: readonly Message[],
    { at, signal }: Deadline,
  ): Promise<unknown> {
    const isKnown = this.#unreachable.has(target.reply.queue);
    const timeout = isKnown ? 0 : UNREACHABLE_TIMEOUT_MS;
    const end = Math.min(at, performance.now() + timeout);
    for (let error = first;;) {
      if (!(error instanceof NoRouteError)) return error;
      if (performance.now() >= end) {
        return this.#unreachable.add(target.reply.queue), error;
      }
      const deadline = { at: end, signal };
      const waited = await delay(RETRY_INTERVAL_MS, deadline).then(
        () => true,
        () => false,
      );
      if (!waited) return error;
      try {
        const sent = messages.map((message) =>
          this.enqueue(target, message, { at })
        );
        return void await Promise.all(sent);
      } catch (last) {
        error = last;
      }
    }
  }

  /**
   * Encodes a reply as a message, without sending it.
   *
   * @throws {InvalidValueError} JSON cannot represent the result, or it exceeds the maximum size of a message.
   */
  message(
    { reply, dialect, warren }: Omit<ReplyTarget, "onGone" | "request">,
    fields: ReplyFields,
  ): Message {
    const id = newId();
    const content: Reply = {
      kind: "reply",
      id: reply.ids === false ? undefined : id,
      call: reply.call,
      ...fields,
    };
    const { body, headers } = encode(
      content,
      dialect,
      this.#limits,
      reply.form,
    );
    return {
      body,
      headers: warren ? headers : {},
      messageId: id,
      correlationId: reply.call,
      mandatory: true,
    };
  }
}

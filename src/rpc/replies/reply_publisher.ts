/** Publishes replies to the queues of callers. @module */
import type { StreamPosition } from "../streams/flow_control.ts";
import { InvalidValueError, NoRouteError, RpcError } from "../../errors.ts";
import { logger, oneLine } from "../../logging.ts";
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
import { aside, type Waiter } from "../request/waiting_aside.ts";
import { ReplyBatcher } from "./reply_batcher.ts";
import { newId } from "../../ids.ts";
import type { Inbox } from "../inbox.ts";

/** Fields of a reply that do not depend on its caller. */
export type ReplyFields = Omit<Reply, "kind" | "id" | "call">;

/** Receiver of a reply, and the dialect that it understands. */
export interface ReplyTarget {
  /** Queue and id of the call. */
  readonly reply: ReplyAddress;
  /** The dialect of the request. */
  readonly dialect: Dialect;
  /** Version of Warren's headers that the caller understands; undefined for other peers, which get no headers. */
  readonly warren?: number | undefined;
  /** Called if the caller's queue does not exist any more. */
  readonly gone?: (() => void) | undefined;
  /** Request of the reply. An unreachable queue is not waited for after its signal has fired. */
  readonly until?: Waiter & { readonly signal: AbortSignal } | undefined;
}

/** Collaborators of a `ReplyPublisher`. */
export interface ReplyPublisherOptions {
  /** Publishes the replies. */
  readonly session: Session;
  /** Inbox that heartbeats name, so that callers can send control commands there. */
  readonly inbox: Inbox;
  /** Limits on messages. */
  readonly limits: Limits;
}

/** Content of a heartbeat beside its call. */
export interface HeartbeatOptions {
  /** Position of the call's stream. */
  readonly position?: StreamPosition | undefined;
  /** Called with the id of the message before it is sent. */
  readonly onSend?: (message: string | undefined) => void;
}

/** Milliseconds that a caller's queue may be unreachable, and between two attempts to reach it. */
const UNREACHABLE_TIMEOUT_MS = 5_000;
const RETRY_INTERVAL_MS = 250;

/** Publishes replies to the queues of callers. */
export class ReplyPublisher {
  readonly #session: Session;
  readonly #inbox: Inbox;
  readonly #limits: Limits;
  readonly #unreachable = new UnreachableQueues();
  readonly #batcher: ReplyBatcher;

  /** Publishes through a session. */
  constructor({ session, inbox, limits }: ReplyPublisherOptions) {
    this.#session = session;
    this.#inbox = inbox;
    this.#limits = limits;
    this.#batcher = new ReplyBatcher(session, limits);
  }

  /** Inbox of this process. */
  get inbox(): string {
    return this.#inbox.name;
  }

  /**
   * Encodes and publishes a reply; resolves when the broker has it. A caller that is gone, or that the reply cannot reach in
   * time, is no error of the worker: the promise resolves.
   *
   * @throws {InvalidValueError} at once, if JSON cannot carry the result.
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
    target: Omit<ReplyTarget, "dialect">,
    messages: readonly Message[],
    deadline: Deadline,
  ): Promise<void> {
    for (const message of messages) {
      await this.publish(target, message, deadline);
    }
  }

  /** Sends what a reader has missed, in order and without confirmations: the reader asks again for what is still missing. */
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

  /** Shows the caller that the worker runs its call, the inbox where the call can be cancelled, and the stream's position. */
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

  /** Publishes a message of `message`; see `send`. */
  async publish(
    target: Omit<ReplyTarget, "dialect">,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    const { gone, until } = target;
    let failure: unknown;
    try {
      await this.#once(target, message, deadline);
    } catch (error) {
      const retry = (signal?: AbortSignal) =>
        this.#retry(error, target, message, { ...deadline, signal });
      failure = await (until ? aside(until, until.signal, retry) : retry());
    }
    if (failure !== undefined) handleFailure(failure, gone);
  }

  #once(
    { reply: { queue }, warren = 0 }: Omit<ReplyTarget, "dialect">,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    return warren < BATCH_VERSION
      ? this.#session.publish(direct(queue), message, deadline)
      : this.#batcher.publish(queue, message, deadline.at);
  }

  /**
   * Publishes again while the caller's queue does not exist, which may pass, e.g. when the broker restarts (oslo.messaging
   * tries for a minute). Resolves to the last error if the queue does not come back.
   */
  async #retry(
    first: unknown,
    target: Omit<ReplyTarget, "dialect">,
    message: Message,
    { at, signal }: Deadline,
  ): Promise<unknown> {
    const { queue } = target.reply;
    const timeout = this.#unreachable.has(queue) ? 0 : UNREACHABLE_TIMEOUT_MS;
    const end = Math.min(at, performance.now() + timeout);
    for (let error = first;;) {
      if (!(error instanceof NoRouteError)) return error;
      if (performance.now() >= end) return this.#unreachable.add(queue), error;
      const deadline = { at: end, signal };
      const waited = await delay(RETRY_INTERVAL_MS, deadline).then(
        () => true,
        () => false,
      );
      if (!waited) return error;
      try {
        return void await this.#once(target, message, { at });
      } catch (last) {
        error = last;
      }
    }
  }

  /**
   * Encodes a reply as a message that is not yet sent.
   *
   * @throws {InvalidValueError} JSON cannot carry the result, or it is larger than a message may be.
   */
  message(
    { reply, dialect, warren }: Omit<ReplyTarget, "gone" | "until">,
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

/** Logs a reply that did not reach its caller; throws where the reply itself is at fault. */
function handleFailure(error: unknown, gone: (() => void) | undefined): void {
  if (!(error instanceof RpcError)) throw error;
  if (error instanceof InvalidValueError) throw error;
  if (error instanceof NoRouteError) gone?.();
  logger("rpc").info("An answer did not reach its caller: {reason}", {
    reason: oneLine(error.message),
  });
}

/** Milliseconds that an unreachable queue is remembered, and the number of queues (oslo.messaging: 60 s, 200). */
const MEMORY_MS = 60_000;
const MAX_QUEUES = 200;

/** Queues that did not exist a short while ago: replies to them are tried once. */
export class UnreachableQueues {
  readonly #until = new Map<string, number>();

  /** True if the queue was unreachable in the last minute. */
  has(queue: string): boolean {
    return (this.#until.get(queue) ?? 0) > performance.now();
  }

  /** Remembers a queue; the oldest of more than 200 is forgotten. */
  add(queue: string): void {
    this.#until.delete(queue);
    this.#until.set(queue, performance.now() + MEMORY_MS);
    const [oldest] = this.#until.keys();
    if (this.#until.size > MAX_QUEUES && oldest) this.#until.delete(oldest);
  }
}

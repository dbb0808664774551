/** One answer on its way to a caller's queue. @module */
import type { StreamPosition } from "../streams/flow_control.ts";
import { InvalidValueError, NoRouteError, RpcError } from "../../errors.ts";
import { logger, oneLine } from "../../logging.ts";
import { delay } from "../../async/deadline.ts";
import { direct } from "../../transport/address.ts";
import type { Deadline, Message, Session } from "../../transport/transport.ts";
import { BATCHES, encode, type Limits } from "../../wire/codec.ts";
import type { Dialect } from "../../wire/dialect.ts";
import type { Reply, ReplyAddress } from "../../wire/rpc_message.ts";
import { aside, type Waiter } from "../request/waiting_aside.ts";
import { ReplyBatcher } from "./reply_batcher.ts";
import { newId } from "../../ids.ts";
import type { Inbox } from "../inbox.ts";

/** What an answer says, whoever gets it. */
export type ReplyFields = Omit<Reply, "kind" | "id" | "call">;

/** To whom, and in which words. */
export interface ReplyTarget {
  /** Where the answer goes. */
  readonly reply: ReplyAddress;
  /** The dialect of the request. */
  readonly dialect: Dialect;
  /** The version of Warren's headers that the caller understands: others get no headers. */
  readonly warren?: number | undefined;
  /** Called if the caller is gone. */
  readonly gone?: (() => void) | undefined;
  /** The request. Its signal fires when nobody waits any more: a queue that is away is not waited for then. */
  readonly until?: Waiter & { readonly signal: AbortSignal } | undefined;
}

/** What sending answers needs. */
export interface AnswerParts {
  /** To answer on. */
  readonly session: Session;
  /** Shown to callers, so that they can cancel. */
  readonly inbox: Inbox;
  /** Bounds on messages. */
  readonly limits: Limits;
}

/** Milliseconds that a caller's queue may be away, and between two tries. */
const PATIENCE = 5_000;
const RETRY = 250;

/** Sends answers. */
export class ReplyPublisher {
  readonly #parts: AnswerParts;
  readonly #unreachable = new UnreachableQueues();
  readonly #batches: ReplyBatcher;

  /** On a transport. */
  constructor(parts: AnswerParts) {
    this.#parts = parts;
    this.#batches = new ReplyBatcher(parts.session, parts.limits);
  }

  /**
   * Sends an answer and waits until the broker has it. A caller that is gone, or that the answer cannot reach in time, is
   * no error of the worker's.
   *
   * @throws {InvalidValueError} at once, if JSON cannot carry it.
   */
  send(
    address: ReplyTarget,
    said: ReplyFields,
    deadline: Deadline,
  ): Promise<void> {
    return this.publish(address, this.message(address, said), deadline);
  }

  /** Sends again what was sent. */
  async repeat(
    address: Omit<ReplyTarget, "dialect">,
    messages: readonly Message[],
    deadline: Deadline,
  ): Promise<void> {
    for (const message of messages) {
      await this.publish(address, message, deadline);
    }
  }

  /** Sends again what a reader has missed, in order and without waiting for the broker: he asks again for what he misses still. */
  async resend(
    queue: string,
    messages: readonly Message[],
    deadline: Deadline,
  ): Promise<void> {
    for (const message of messages) {
      const resend = { ...message, mandatory: false };
      await this.#parts.session.send(direct(queue), resend, deadline);
    }
  }

  /** Shows the caller that the call is being worked on, where it can be cancelled, and how far its stream is. */
  async sendHeartbeat(
    address: ReplyTarget,
    deadline: Deadline,
    sent: (id: string | undefined) => void,
    position: StreamPosition | undefined,
  ): Promise<void> {
    const { session, inbox } = this.#parts;
    await inbox.ready(deadline);
    const { name } = inbox;
    const said = {
      ending: false,
      heartbeat: true,
      inbox: name,
      ...position,
    };
    const message = this.message(address, said);
    sent(message.messageId);
    await session.send(direct(address.reply.queue), message, deadline);
  }

  /** Sends what `message` made; see `send`. */
  async publish(
    address: Omit<ReplyTarget, "dialect">,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    const { gone, until } = address;
    let failure: unknown;
    try {
      await this.#once(address, message, deadline);
    } catch (error) {
      const later = (signal?: AbortSignal) =>
        this.#later(error, address, message, { ...deadline, signal });
      failure = await (until ? aside(until, until.signal, later) : later());
    }
    if (failure !== undefined) unsent(failure, gone);
  }

  #once(
    { reply: { queue }, warren = 0 }: Omit<ReplyTarget, "dialect">,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    return warren < BATCHES
      ? this.#parts.session.publish(direct(queue), message, deadline)
      : this.#batches.publish(queue, message, deadline.at);
  }

  /**
   * A caller's queue may be away for a moment, e.g. while the broker starts anew (oslo.messaging tries for a minute). Resolves
   * to the last error if it does not come back.
   */
  async #later(
    first: unknown,
    address: Omit<ReplyTarget, "dialect">,
    message: Message,
    { at, signal }: Deadline,
  ): Promise<unknown> {
    const { queue } = address.reply;
    const patience = this.#unreachable.has(queue) ? 0 : PATIENCE;
    const end = Math.min(at, performance.now() + patience);
    for (let error = first;;) {
      if (!(error instanceof NoRouteError)) return error;
      if (performance.now() >= end) return this.#unreachable.add(queue), error;
      const wait = { at: end, signal };
      const waited = await delay(RETRY, wait).then(() => true, () => false);
      if (!waited) return error;
      try {
        return void await this.#once(address, message, { at });
      } catch (last) {
        error = last;
      }
    }
  }

  /**
   * An answer, not yet sent.
   *
   * @throws {InvalidValueError} JSON cannot carry it.
   */
  message(
    { reply, dialect, warren }: Omit<ReplyTarget, "gone" | "until">,
    said: ReplyFields,
  ): Message {
    const id = newId();
    const answer: Reply = {
      kind: "reply",
      id: reply.ids === false ? undefined : id,
      call: reply.call,
      ...said,
    };
    const { limits } = this.#parts;
    const { body, headers } = encode(answer, dialect, limits, reply.form);
    return {
      body,
      headers: warren ? headers : {},
      messageId: id,
      correlationId: reply.call,
      mandatory: true,
    };
  }
}

/** That an answer does not reach its caller is no error of the worker's; that it cannot be sent is. */
function unsent(error: unknown, gone: (() => void) | undefined): void {
  if (!(error instanceof RpcError)) throw error;
  if (error instanceof InvalidValueError) throw error;
  if (error instanceof NoRouteError) gone?.();
  logger("rpc").info("An answer did not reach its caller: {reason}", {
    reason: oneLine(error.message),
  });
}

/** Milliseconds that a queue is remembered, and how many are (oslo.messaging: 60 s, 200). */
const MEMORY = 60_000;
const MOST = 200;

/** Remembers them for a while. */
export class UnreachableQueues {
  readonly #until = new Map<string, number>();

  /** True if it was gone a short while ago. */
  has(queue: string): boolean {
    return (this.#until.get(queue) ?? 0) > performance.now();
  }

  /** It is gone. */
  add(queue: string): void {
    this.#until.delete(queue);
    this.#until.set(queue, performance.now() + MEMORY);
    const [oldest] = this.#until.keys();
    if (this.#until.size > MOST && oldest) this.#until.delete(oldest);
  }
}

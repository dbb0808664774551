/** Sending of the replies of a request, after they were recorded in the shared ledger. @module */
import type { Deadline, Message } from "../../transport/transport.ts";
import type { ReplyAddress } from "../../wire/mod.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import { isTooLarge } from "../../transport/content_errors.ts";
import { logFailedCall, logStep } from "../request/request_log.ts";
import type { ReplyEncoder } from "./reply_encoder.ts";
import type { EncodedReplyTarget, ReplyPublisher } from "./reply_publisher.ts";

/** Maximum milliseconds to send a reply whose caller has no deadline. */
export const MAX_REPLY_TIME_MS = 60_000;

const DONE = Promise.resolve();

/** Sends the replies to the requests of one server. */
export class ReplySender {
  readonly #publisher: ReplyPublisher;
  readonly #encoder: ReplyEncoder;
  readonly #stopping: Deadline;

  /** `stopping` is the deadline for the ledger, which comes when the worker stops. */
  constructor(
    publisher: ReplyPublisher,
    encoder: ReplyEncoder,
    stopping: Deadline,
  ) {
    this.#publisher = publisher;
    this.#encoder = encoder;
    this.#stopping = stopping;
  }

  /**
   * Records the replies in the ledger, if there is one, and sends them. If no caller waits any more, no reply is sent, and
   * a call is not recorded: a handler whose signal has fired has no result, so the call runs again if its caller asks
   * again. Throws at once what `encode` throws.
   */
  record(
    incoming: IncomingRequest,
    encode: () => readonly Message[],
  ): Promise<void> {
    const { cancellation, settlement, streaming, request } = incoming;
    const { cancelled } = cancellation;
    const replies = cancelled ? [] : encode();
    if (settlement.fenced) return DONE; // the new owner replies
    const isGivenUp = cancelled && request.reply && !streaming;
    if (settlement.lease) {
      return isGivenUp
        ? this.#giveUp(incoming)
        : this.#recordAndSend(incoming, replies);
    }
    if (!streaming) incoming.reply(replies);
    return this.#sendAll(incoming, replies);
  }

  async #recordAndSend(
    incoming: IncomingRequest,
    replies: readonly Message[],
  ): Promise<void> {
    const repeatable = incoming.streaming ? [] : replies; // a stream cannot be repeated, since its reader is gone if the request arrives again
    const { lease } = incoming.settlement;
    const recorded = await lease?.done(repeatable, this.#stopping);
    if (!recorded) return incoming.fence();
    if (!incoming.streaming) incoming.reply(recorded);
    await this.#sendAll(incoming, incoming.streaming ? replies : recorded);
  }

  #sendAll(
    incoming: IncomingRequest,
    replies: readonly Message[],
  ): Promise<void> {
    const [first] = replies;
    if (!first) return DONE;
    return replies.length === 1 && !incoming.logsSteps
      ? this.send(incoming, first)
      : this.#sendInOrder(incoming, replies);
  }

  async #sendInOrder(
    incoming: IncomingRequest,
    replies: readonly Message[],
  ): Promise<void> {
    for (const reply of replies) await this.send(incoming, reply);
    if (incoming.request.reply) logStep(incoming, "answered");
  }

  /** Releases the claim of a call that nobody waits for. That of an abandoned request is released when it is requeued. */
  async #giveUp(
    { settlement: { lease, abandoned } }: IncomingRequest,
  ): Promise<void> {
    if (lease && !lease.ended && !abandoned) await lease.release();
  }

  /** Sends one reply, and stores it for a reader that may miss it. Does nothing for a cast. */
  send(incoming: IncomingRequest, message: Message): Promise<void> {
    const target = replyTarget(incoming);
    if (!target) return DONE;
    incoming.stream?.replay?.add(message);
    const deadline = replyDeadline(incoming);
    return this.#publisher.publish(target, message, deadline)
      .catch((error) => this.failTooLarge(incoming, error));
  }

  /**
   * Sends a failure in place of a reply that the broker refuses because of its size, so that the caller need not wait for its
   * deadline.
   *
   * @throws {unknown} the error of the reply, if it is another one.
   */
  async failTooLarge(incoming: IncomingRequest, error: unknown): Promise<void> {
    const target = replyTarget(incoming);
    if (!target || !isTooLarge(error)) throw error;
    logFailedCall(incoming, error);
    const deadline = replyDeadline(incoming);
    for (const failure of this.#encoder.tooLarge(incoming, error)) {
      await this.#publisher.publish(target, failure, deadline);
    }
  }
}

/**
 * Returns the receiver of the replies to a request; undefined for a cast. A request that no other worker can get any more
 * needs no confirm of its replies.
 */
export function replyTarget(
  incoming: IncomingRequest,
): EncodedReplyTarget | undefined {
  const { reply } = incoming.request;
  return reply && new CallerTarget(incoming, reply);
}

/** Receiver of the replies to a request: the reply queue that its caller has at the time of each reply. */
class CallerTarget implements EncodedReplyTarget {
  readonly request: IncomingRequest;
  readonly warren: number | undefined;
  readonly confirm: boolean;
  readonly #first: ReplyAddress;

  constructor(request: IncomingRequest, reply: ReplyAddress) {
    this.request = request;
    this.warren = request.request.warren;
    this.confirm = !request.settlement.final;
    this.#first = reply;
  }

  get reply(): ReplyAddress {
    return this.request.request.reply ?? this.#first;
  }

  onGone(): void {
    this.request.end("the caller is gone");
  }
}

/** Returns the deadline of a reply: the caller's, or a minute from now if that is earlier. */
export function replyDeadline(
  { deadline, arrived }: IncomingRequest,
): Deadline {
  if (deadline <= arrived + MAX_REPLY_TIME_MS) return { at: deadline };
  const latest = performance.now() + MAX_REPLY_TIME_MS;
  return { at: Math.min(deadline, latest) };
}

/** Replies of a worker, in the form that the request asked for. @module */
import type { RequestContext } from "../../contract/request_context.ts";
import { InvalidValueError, RpcError, TimeoutError } from "../../errors.ts";
import { oneLine } from "../../logging.ts";
import type { Deadline, Message } from "../../transport/transport.ts";
import { osloPeerOf, toFailure } from "../../wire/mod.ts";
import { parseResult } from "../dispatch/handler_result.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import { Heartbeats } from "./heartbeats.ts";
import {
  ReplyEncoder,
  type ReplyEncoderOptions,
  replyTo,
} from "./reply_encoder.ts";
import {
  ReplyPublisher,
  type ReplyPublisherOptions,
  type ReplyTarget,
} from "./reply_publisher.ts";
import {
  MAX_REPLY_TIME_MS,
  replyDeadline,
  ReplySender,
} from "./reply_sender.ts";
import { StreamReplies } from "./stream_reply.ts";

/** Replies to requests, until disposed. */
export class Responder implements Disposable {
  /** Heartbeats of calls that take long. */
  readonly heartbeats: Heartbeats;
  /** Replies of procedures that stream. */
  readonly streams: StreamReplies;
  readonly #publisher: ReplyPublisher;
  readonly #encoder: ReplyEncoder;
  readonly #sender: ReplySender;

  /** `stopping` ends the waits for the ledger, when the worker stops. */
  constructor(
    resources: ReplyPublisherOptions,
    options: ReplyEncoderOptions,
    stopping: Deadline,
  ) {
    const { inbox } = resources;
    const publisher = this.#publisher = new ReplyPublisher(resources);
    const encoder = this.#encoder = new ReplyEncoder(publisher, options);
    const sender = this.#sender = new ReplySender(publisher, stopping);
    this.heartbeats = new Heartbeats(publisher);
    this.streams = new StreamReplies({ inbox, publisher, encoder, sender });
  }

  /** Sends no more heartbeats and no more of streams. */
  [Symbol.dispose](): void {
    this.streams[Symbol.dispose]();
    this.heartbeats[Symbol.dispose]();
  }

  /** Sends the result of a handler; nothing for a cast, or if nobody waits any more. */
  result(incoming: IncomingRequest, result: unknown): Promise<void> {
    return this.#sender.record(
      incoming,
      () => this.#encoder.results(incoming, result),
    );
  }

  /** Sends the error that a handler threw, or that the dispatcher made; nothing for a cast. */
  async failure(incoming: IncomingRequest, error: unknown): Promise<void> {
    if (!incoming.request.reply) return;
    await this.#sender.record(
      incoming,
      () => this.#encoder.failures(incoming, error),
    );
  }

  /**
   * Records the result of a handler in a transaction of the handler; see `RequestContext.record`.
   *
   * @throws {InvalidValueError} there is no ledger store, or no transaction.
   * @throws {InvalidResultError} the result does not fit the contract.
   * @throws {RpcError} `ABORTED`: another worker has the request.
   */
  async record(
    incoming: IncomingRequest,
    context: RequestContext,
    transaction: unknown,
    result: unknown,
  ): Promise<void> {
    const { request: { method }, settlement } = incoming;
    const { lease } = settlement;
    const what = `Cannot record ${oneLine(method, 60)}`;
    if (!lease || transaction === undefined) {
      throw new InvalidValueError(
        `${what}: ${lease ? NO_TRANSACTION : NOTHING_CLAIMED}`,
      );
    }
    const value = await parseRecorded(incoming, context, result);
    const replies = this.#encoder.results(incoming, value);
    const late = lease.ended && !settlement.fenced;
    if (!late && await lease.record(replies, transaction)) return;
    if (!late && !lease.recorded) incoming.fence();
    const why = late
      ? "its handler has ended; await record within the handler"
      : lease.recorded
      ? "it is recorded already"
      : "another worker has taken the request over";
    throw new RpcError("ABORTED", `${what}: ${why}`);
  }

  /** Tells a caller that named no deadline that its call has ended at the worker's own limit, after `ms` milliseconds. */
  async timeOut(
    { request, dialect, cancellation }: IncomingRequest,
    ms: number,
  ): Promise<void> {
    const { reply, warren, method } = request;
    if (!reply || cancellation.cancelled) return;
    const text = `${
      oneLine(method, 60)
    } has taken ${ms} ms, which is the most where its caller names no deadline`;
    const target = { reply, dialect, warren };
    await this.#sendFailure(target, new TimeoutError(text), osloPeerOf(request))
      .catch(() => {}); // the caller cannot be reached
  }

  /** Repeats the replies of a request that came again, for the call that asks now. */
  async repeat(
    incoming: IncomingRequest,
    replies: readonly Message[],
  ): Promise<void> {
    const { reply, warren } = incoming.request;
    if (!reply) return;
    const target = { reply, warren, until: incoming };
    const messages = replies.map((each) => replyTo(reply.call, each));
    await this.#publisher.repeat(target, messages, replyDeadline(incoming));
  }

  /** Tells the sender of a message that cannot be read, or is no request, why it was rejected. */
  async reject(target: ReplyTarget, reason: string): Promise<void> {
    const error = new InvalidValueError(`Refused the request: ${reason}`);
    await this.#sendFailure(target, error, osloPeerOf(target));
  }

  async #sendFailure(
    target: ReplyTarget,
    error: RpcError,
    forOslo: ReturnType<typeof osloPeerOf>,
  ): Promise<void> {
    const failure = toFailure(error, { fromDispatcher: true, forOslo });
    const deadline = { at: performance.now() + MAX_REPLY_TIME_MS };
    await this.#publisher.send(target, { failure, ending: true }, deadline);
  }
}

const NO_TRANSACTION =
  "give the transaction, e.g. the client of npm:pg that it was begun on";
const NOTHING_CLAIMED =
  "nothing is claimed in a ledger store: give the service one, and cast or call what is to be recorded, not to all workers";

/** Parses the result of a call. Nobody gets that of a cast. */
async function parseRecorded(
  { request: { reply, method }, procedure }: IncomingRequest,
  context: RequestContext,
  result: unknown,
): Promise<unknown> {
  const schema = reply && procedure?.result;
  const what = `result of ${method}`;
  return schema ? await parseResult(schema, result, what, context) : undefined;
}

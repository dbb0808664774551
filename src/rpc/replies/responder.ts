/** Replies of a worker, in the form that the request asks for. @module */
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

/** Replies to the requests of one server, until disposed. */
export class Responder implements Disposable {
  /** Heartbeats of calls whose handlers run for long. */
  readonly heartbeats: Heartbeats;
  /** Replies of procedures that return streams. */
  readonly streams: StreamReplies;
  readonly #publisher: ReplyPublisher;
  readonly #encoder: ReplyEncoder;
  readonly #sender: ReplySender;

  /** `stopping` is the deadline for the ledger, which comes when the worker stops. */
  constructor(
    resources: ReplyPublisherOptions,
    options: ReplyEncoderOptions,
    stopping: Deadline,
  ) {
    const { inbox } = resources;
    const publisher = this.#publisher = new ReplyPublisher(resources);
    const encoder = this.#encoder = new ReplyEncoder(publisher, options);
    const sender = this.#sender = new ReplySender(
      publisher,
      encoder,
      stopping,
    );
    this.heartbeats = new Heartbeats(publisher);
    this.streams = new StreamReplies({ inbox, publisher, encoder, sender });
  }

  /** Stops heartbeats, and replies to readers of streams. */
  [Symbol.dispose](): void {
    this.streams[Symbol.dispose]();
    this.heartbeats[Symbol.dispose]();
  }

  /**
   * Sends the result of a handler; nothing for a cast, or if no caller waits any more.
   *
   * @throws {InvalidResultError} JSON cannot represent the result; thrown at once.
   */
  result(incoming: IncomingRequest, result: unknown): Promise<void> {
    return this.#sender.record(
      incoming,
      () => this.#encoder.results(incoming, result),
    );
  }

  /** Sends an error of the handler or the dispatcher; nothing for a cast. */
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

  /** Replies to a caller without a deadline that its call was ended by the worker's own limit, after `ms` milliseconds. */
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

  /** Sends the replies of an earlier request again, as replies to this request. */
  async repeat(
    incoming: IncomingRequest,
    replies: readonly Message[],
  ): Promise<void> {
    const { reply, warren } = incoming.request;
    if (!reply) return;
    const target = { reply, warren, request: incoming };
    const messages = replies.map((each) => replyTo(reply.call, each));
    await this.#publisher.repeat(target, messages, replyDeadline(incoming))
      .catch((error) => this.#sender.failTooLarge(incoming, error));
  }

  /** Replies to the sender of a message that cannot be decoded, or is no request, with the reason for the rejection. */
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

/** Parses the result of a call. The result of a cast is not parsed, since no caller receives it. */
async function parseRecorded(
  { request: { reply, method }, procedure }: IncomingRequest,
  context: RequestContext,
  result: unknown,
): Promise<unknown> {
  const schema = reply && procedure?.result;
  const what = `result of ${method}`;
  return schema ? await parseResult(schema, result, what, context) : undefined;
}

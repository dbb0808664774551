/**
 * Streams of replies: items with flow control, their ending, and the resending of items that a reader has missed.
 *
 * @module
 */
import { InterruptedError } from "../../errors.ts";
import type { Deadline } from "../../transport/transport.ts";
import { grizzly, toFailure } from "../../wire/mod.ts";
import type { Inbox } from "../inbox.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import type { OutgoingStream } from "../streams/outgoing_stream.ts";
import { ReaderQueue } from "../streams/reader_queue.ts";
import { FinishedStreams, ReplayBuffer } from "../streams/replay_buffer.ts";
import type { ReplyEncoder } from "./reply_encoder.ts";
import type { ReplyPublisher, ReplyTarget } from "./reply_publisher.ts";
import type { ReplySender } from "./reply_sender.ts";
import { StreamItems } from "./stream_items.ts";

/** Milliseconds to send the message that a stream is interrupted. */
const INTERRUPT_TIMEOUT_MS = 1_000;
/**
 * Maximum number of replies to readers of unknown streams that are being sent at once, because any peer may cause such
 * replies, to any queue.
 */
const MAX_NOT_FOUND_REPLIES = 32;
/** Milliseconds to resend items to a reader. */
const RESEND_TIMEOUT_MS = 5_000;

/** Collaborators of `StreamReplies`. */
export interface StreamRepliesOptions {
  /** Control commands of readers. */
  readonly inbox: Inbox;
  /** Publishes messages. */
  readonly publisher: ReplyPublisher;
  /** Encodes items. */
  readonly encoder: ReplyEncoder;
  /** Records and sends the ending. */
  readonly sender: ReplySender;
}

/** Sends the streams of one server, until disposed. */
export class StreamReplies implements Disposable {
  readonly #inbox: Inbox;
  readonly #publisher: ReplyPublisher;
  readonly #encoder: ReplyEncoder;
  readonly #sender: ReplySender;
  readonly #listening: Disposable;
  readonly #finished = new FinishedStreams();
  #notFoundReplies = 0;

  /** Starts to reply to readers of unknown streams. */
  constructor({ inbox, publisher, encoder, sender }: StreamRepliesOptions) {
    this.#inbox = inbox;
    this.#publisher = publisher;
    this.#encoder = encoder;
    this.#sender = sender;
    this.#listening = inbox.onUnknownStream((call, from, queue) =>
      this.#replyNotFound(call, from, queue)
    );
  }

  /** Drops the stored streams, and stops replying to readers of unknown ones. */
  [Symbol.dispose](): void {
    this.#listening[Symbol.dispose]();
    this.#finished[Symbol.dispose]();
  }

  /**
   * Sends the items of a stream and its ending. The unread items are stored for a while, because they may be lost on
   * the way.
   */
  async send(
    incoming: IncomingRequest,
    items: AsyncIterable<unknown>,
  ): Promise<void> {
    const stream = incoming.openStream();
    const replay = this.#replayBuffer(incoming, stream);
    stream.setReplayBuffer(replay);
    try {
      await this.#itemsOf(incoming, stream).send(items);
      await this.#sendEnding(incoming, stream);
    } finally {
      const { cancelled } = incoming.cancellation;
      if (cancelled || !incoming.request.credit) replay?.[Symbol.dispose]();
      else if (replay) this.#finished.add(replay);
    }
  }

  /** Replies to the caller that its stream is interrupted, because the worker stops, and after which item. */
  async interrupt(incoming: IncomingRequest): Promise<void> {
    const { request: { reply, warren }, dialect, stream } = incoming;
    if (!reply) return;
    const target = { reply, dialect, warren, request: incoming };
    const { sequence: next } = stream?.replay?.next ?? {};
    const error = next === undefined // a peer that is not Warren gets no numbers
      ? new InterruptedError("The stream was interrupted: the worker stops")
      : interruptedAfter(next - 1, "the worker stops");
    await this.#sendInterruption(target, error);
  }

  /**
   * Sends the ending.
   *
   * @throws the error of the handler's `maxDuration`, if that has ended the stream.
   */
  async #sendEnding(
    incoming: IncomingRequest,
    { replay }: OutgoingStream,
  ): Promise<void> {
    const { run: { timeout }, cancellation, settlement } = incoming;
    if (timeout && !cancellation.cancelled) throw timeout;
    if (settlement.abandoned) return; // the request is requeued undone
    const fields = { ending: true, ...replay?.next };
    await this.#sender.record(
      incoming,
      () => [this.#encoder.reply(incoming, fields)],
    );
  }

  /** Creates the sender of the items. If the reader grants no credit, the length of its queue limits the stream. */
  #itemsOf(incoming: IncomingRequest, stream: OutgoingStream): StreamItems {
    const { reply, credit } = incoming.request;
    const inspect = (queue: string, deadline: Deadline) =>
      this.#inbox.inspect(queue, deadline);
    const queue = reply && credit === undefined
      ? new ReaderQueue(incoming, inspect)
      : undefined;
    const encoder = this.#encoder, publisher = this.#publisher;
    return new StreamItems({ encoder, publisher, incoming, stream, queue });
  }

  /** Creates the replay buffer of a stream; returns undefined for peers that cannot request missing items. */
  #replayBuffer(
    { request, dialect }: IncomingRequest,
    stream: OutgoingStream,
  ): ReplayBuffer | undefined {
    const { reply, warren, credit: window = 0 } = request;
    if (!reply || !warren) return undefined;
    const { targets } = this.#inbox;
    const { call, queue: reader } = reply;
    return new ReplayBuffer({
      ...{ targets, call, reader, window },
      resend: async (messages, queue) => {
        const deadline = { at: performance.now() + RESEND_TIMEOUT_MS };
        if (messages.length > 0) {
          return await this.#publisher.resend(queue, messages, deadline);
        }
        const target = { reply: { ...reply, queue }, dialect, warren };
        const { position } = stream;
        await this.#publisher.sendHeartbeat(target, deadline, { position });
      },
    });
  }

  /**
   * Replies to a reader that its stream is unknown here: it was dropped, or another worker sends it. Above the limit no
   * reply is sent, and the reader repeats its request.
   */
  #replyNotFound(call: string, from: number, queue: string): void {
    if (this.#notFoundReplies >= MAX_NOT_FOUND_REPLIES) return;
    this.#notFoundReplies++;
    const why = "the worker does not know it any more";
    const target: ReplyTarget = {
      reply: { call, queue, form: "oneMessage" },
      dialect: grizzly,
      warren: 1, // a control command does not contain the version that its sender understands
    };
    const sent = this.#sendInterruption(
      target,
      interruptedAfter(from - 1, why),
    );
    void sent.catch(() => {}).finally(() => this.#notFoundReplies--);
  }

  async #sendInterruption(
    target: ReplyTarget,
    error: InterruptedError,
  ): Promise<void> {
    const failure = toFailure(error, { fromDispatcher: true });
    const deadline = { at: performance.now() + INTERRUPT_TIMEOUT_MS };
    const fields = { failure, ending: true };
    await this.#publisher.send(target, fields, deadline);
  }
}

/** Error for a stream that ends after an item, before its handler has ended. */
function interruptedAfter(sequence: number, why: string): InterruptedError {
  const text = `The stream was interrupted after item ${sequence}: ${why}`;
  return new InterruptedError(text, { data: { sequence } });
}

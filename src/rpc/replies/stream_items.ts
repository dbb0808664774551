/** Sending of the items of one stream, as far as its reader has room for them. @module */
import { setImmediate } from "node:timers/promises";
import type { Message } from "../../transport/transport.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import {
  MAX_WINDOW_ITEMS,
  type StreamPosition,
} from "../streams/flow_control.ts";
import type { OutgoingStream } from "../streams/outgoing_stream.ts";
import type { ReaderQueue } from "../streams/reader_queue.ts";
import { isTooLarge } from "../../transport/content_errors.ts";
import { type ReplyEncoder, tooLargeResult } from "./reply_encoder.ts";
import type { EncodedReplyTarget, ReplyPublisher } from "./reply_publisher.ts";
import { replyDeadline, replyTarget } from "./reply_sender.ts";

/** Maximum number of items that a handler yields in one turn of the event loop, even if it never awaits anything. */
const MAX_ITEMS_PER_TURN = 128;
/** Maximum number of items that the broker has not confirmed, or that are not written yet, for a reader that grants no credit. */
const MAX_UNCONFIRMED_ITEMS = 32;

/** Items that are sent together, and share one confirmation. */
interface ItemBatch {
  readonly sent: Promise<void>;
  readonly messages: Message[];
  /** Position of the last item. */
  position: StreamPosition;
}

/** Stream of a request, and the way to its reader. */
export interface StreamItemsOptions {
  /** Encodes items. */
  readonly encoder: ReplyEncoder;
  /** Publishes items. */
  readonly publisher: ReplyPublisher;
  /** Request of the stream. */
  readonly incoming: IncomingRequest;
  /** Credit and replay buffer. */
  readonly stream: OutgoingStream;
  /** Queue of a reader that grants no credit. */
  readonly queue: ReaderQueue | undefined;
}

/** Sends the items of one stream. */
export class StreamItems {
  readonly #options: StreamItemsOptions;
  readonly #target: EncodedReplyTarget | undefined;
  readonly #maxUnconfirmed: number;
  /** Batch of the last item. */
  #batch: ItemBatch | undefined;
  #unconfirmed = 0;
  #onConfirmed: (() => void) | undefined;
  #failed: { readonly error: unknown } | undefined;
  /** True if the next item has waited for credit. */
  #hasWaited = false;

  /** Sends nothing before `send`. */
  constructor(options: StreamItemsOptions) {
    this.#options = options;
    this.#target = replyTarget(options.incoming);
    this.#maxUnconfirmed = options.queue
      ? MAX_UNCONFIRMED_ITEMS
      : MAX_WINDOW_ITEMS;
  }

  /** Sends the items until they end, or the request does; resolves when the broker has confirmed all of them. */
  async send(items: AsyncIterable<unknown>): Promise<void> {
    try {
      await this.#sendAll(items);
    } catch (error) {
      throw this.#failed?.error ?? error; // the handler that was interrupted throws an error of its own
    }
    while (this.#unconfirmed > 0) await this.#confirmation();
    if (this.#failed) throw this.#failed.error;
  }

  async #sendAll(items: AsyncIterable<unknown>): Promise<void> {
    const { incoming } = this.#options;
    let sequence = 0, pulled = 0;
    for await (const value of items) {
      // A generator that never awaits must not block the event loop.
      if (++pulled % MAX_ITEMS_PER_TURN === 0) await setImmediate();
      if (incoming.signal.aborted || this.#failed) break;
      if (!isSendable(incoming, value)) continue;
      sequence++;
      this.#sendItem(value);
      if (this.#unconfirmed >= this.#maxUnconfirmed) await this.#confirmation();
      const next = sequence + 1;
      if (!this.#hasRoom(next) && !(await this.#room(next))) break;
    }
  }

  #hasRoom(item: number): boolean {
    const { queue, stream, incoming } = this.#options;
    if (incoming.signal.aborted) return false;
    return queue ? queue.hasRoom(item) : stream.hasRoom(item);
  }

  /** Resolves when the item of this number may be sent; to false if the call has ended. */
  #room(item: number): Promise<boolean> {
    const { queue, stream, incoming } = this.#options;
    if (queue) return queue.room(item);
    this.#hasWaited = stream.exceedsCredit(item);
    return stream.room(item, incoming.signal);
  }

  /**
   * Encodes an item, stores it for a reader that may miss it, and sends it with the other items of this turn.
   *
   * @throws {InvalidResultError} the item cannot be encoded.
   */
  #sendItem(value: unknown): void {
    const { encoder, publisher, incoming, stream } = this.#options;
    if (!this.#target) return;
    stream.start();
    const position = stream.replay?.next ?? {};
    const message = encoder.value(incoming, value, {
      ending: false,
      sequence: position.sequence,
      runId: position.runId,
      window: this.#hasWaited && stream.replay ? MAX_WINDOW_ITEMS : undefined,
    });
    this.#hasWaited = false;
    stream.replay?.add(message);
    const deadline = replyDeadline(incoming);
    const sent = publisher.enqueue(this.#target, message, deadline);
    this.#unconfirmed++;
    if (sent === this.#batch?.sent) {
      this.#batch.messages.push(message);
      this.#batch.position = position;
    } else {
      this.#batch = { sent, messages: [message], position };
      void this.#confirm(this.#batch, this.#target);
    }
  }

  /** Waits until a batch is confirmed. Never rejects: the stream fails after its next item. */
  async #confirm(
    batch: ItemBatch,
    target: EncodedReplyTarget,
  ): Promise<void> {
    const { publisher, incoming, stream } = this.#options;
    const { sent, messages } = batch;
    try {
      const deadline = replyDeadline(incoming);
      await publisher.complete(sent, target, messages, deadline);
      stream.sent(batch.position);
    } catch (error) {
      this.#fail(error, messages);
    }
    this.#unconfirmed -= messages.length;
    this.#onConfirmed?.();
  }

  /**
   * Ends the stream with an error. An item that is larger than the broker takes leaves its number to that error, and ends the
   * handler at once: its reader would wait for the item.
   */
  #fail(error: unknown, messages: readonly Message[]): void {
    const { incoming, stream } = this.#options;
    if (!isTooLarge(error)) return void (this.#failed ??= { error });
    const failure = tooLargeResult(incoming, error);
    if (this.#failed) return;
    this.#failed = { error: failure };
    const maxSize = Number(error.data.maxSize);
    const refused = messages.find(({ body }) => body.byteLength > maxSize);
    if (refused) stream.replay?.retract(refused);
    incoming.cancellation.interrupt(failure);
  }

  /** Resolves when the broker has confirmed further items. */
  async #confirmation(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onConfirmed = resolve;
    await promise;
  }
}

/**
 * False for the items of a cast, which has no reader, and for empty items to other peers, which would take them for
 * heartbeats.
 */
function isSendable(
  { request: { reply, warren } }: IncomingRequest,
  item: unknown,
): boolean {
  if (reply === undefined) return false;
  return warren !== undefined || (item !== null && item !== undefined);
}

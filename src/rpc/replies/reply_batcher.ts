/**
 * Batching of replies: replies to one caller that are ready in the same turn of the event loop are sent in one message.
 *
 * @module
 */
import process from "node:process";
import { direct } from "../../transport/address.ts";
import type { Deadline, Message, Session } from "../../transport/transport.ts";
import { type Limits, ReplyBatch } from "../../wire/mod.ts";
import { newId } from "../../ids.ts";

/** Maximum milliseconds between the deadlines of the replies in a batch, which is settled at the last of them. */
const MAX_DEADLINE_SPREAD_MS = 100;

/** Publishes replies as `Session.publish` does. */
export type ReplyChannel = Pick<Session, "publish">;

/**
 * Returns a channel without confirms. A promise of it resolves when the message is written to the connection. The message
 * may be lost with the connection, and the broker drops it without notice if its queue is gone.
 */
export function withoutConfirms(session: Pick<Session, "send">): ReplyChannel {
  return {
    publish: (address, message, deadline) =>
      session.send(address, { ...message, mandatory: false }, deadline),
  };
}

/** Reply that is to be published. */
export interface Publishing {
  readonly message: Message;
  /** Deadline in milliseconds of the monotonic clock. */
  readonly deadline: number;
  /** Version of Warren's headers that the reader understands. */
  readonly version: number;
}

/** Replies to one queue that have not been sent yet. */
class OpenBatch {
  readonly batch: ReplyBatch<Message> = new ReplyBatch();
  readonly sent: PromiseWithResolvers<void> = Promise.withResolvers();
  #first = Infinity;
  /** Deadline of the batch, in milliseconds of the monotonic clock. */
  deadline = -Infinity;

  /** Adds a message; false if its deadline is too different, or the batch would be too large. */
  add({ message, deadline, version }: Publishing, maxBytes: number): boolean {
    const first = Math.min(this.#first, deadline);
    const last = Math.max(this.deadline, deadline);
    const together = this.batch.replies.length === 0 ||
      first === last || last - first <= MAX_DEADLINE_SPREAD_MS;
    if (!together || !this.batch.add(message, maxBytes, version)) return false;
    this.#first = first;
    this.deadline = last;
    return true;
  }

  get message(): Message {
    const { replies: [only, ...more] } = this.batch;
    if (only && more.length === 0) return only;
    return { ...this.batch.encoded, messageId: newId(), mandatory: true };
  }
}

/**
 * Sends the open batches at the end of each turn of the event loop, which is much less work for the broker and delays
 * no reply.
 */
export class ReplyBatcher {
  readonly #channel: ReplyChannel;
  readonly #maxBytes: number;
  /** Open batches by queue. Each turn has a new map: see `slot_map.ts`. */
  #open = new Map<string, OpenBatch>();

  /** Batches are published on `channel`; no batch is larger than a single message may be. */
  constructor(channel: ReplyChannel, { bytes }: Limits) {
    this.#channel = channel;
    this.#maxBytes = bytes;
  }

  /**
   * Publishes a message in the same way as `Session.publish`, to a queue whose reader understands batches. Messages to
   * one queue stay in order.
   */
  publish(queue: string, reply: Publishing): Promise<void> {
    let batch = this.#open.get(queue);
    if (!batch?.add(reply, this.#maxBytes)) {
      if (batch) this.#send(queue, batch);
      if (this.#open.size === 0) process.nextTick(this.#flush);
      batch = new OpenBatch();
      batch.add(reply, this.#maxBytes);
      this.#open.set(queue, batch);
    }
    return batch.sent.promise;
  }

  /** Publishes a message by itself, to a queue whose reader does not understand batches. */
  publishAlone(
    queue: string,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    return this.#channel.publish(direct(queue), message, deadline);
  }

  #flush = (): void => {
    const open = this.#open;
    this.#open = new Map();
    for (const [queue, batch] of open) this.#send(queue, batch);
  };

  #send(queue: string, batch: OpenBatch): void {
    const { deadline, sent } = batch;
    Promise.try(() =>
      this.#channel.publish(direct(queue), batch.message, { at: deadline })
    ).then(sent.resolve, sent.reject);
  }
}

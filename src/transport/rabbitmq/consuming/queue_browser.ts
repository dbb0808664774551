/** Looks at the messages of a queue on a channel of its own, with one consumer after another. @module */
import { AmqpError, type Channel } from "../../../amqp/mod.ts";
import { delay, settledWithin, withDeadline } from "../../../async/deadline.ts";
import { ConnectionFailedError, TimeoutError } from "../../../errors.ts";
import type { BrowseOptions, Browser, Delivery } from "../../transport.ts";
import { checkQueue } from "../connection/declarations.ts";
import { consumeError } from "../connection/topology_errors.ts";
import { BrowseBatch, type BrowseState } from "./browse_batch.ts";

/** Messages of the first batch by default. */
const FIRST_BATCH = 200;
/** Maximum number of messages of a batch, which has at most 4 MiB by the sizes of the batch before. */
const MAX_BATCH = 4_000;
const MAX_BATCH_BYTES = 4 * 1024 * 1024;
/** Maximum number of messages of a batch while messages are near their delivery limit. */
const MAX_NEAR_LIMIT_BATCH = 500;
/** The same for messages of which little is needed. */
const MAX_KNOWN_BATCH = 10_000;
const MAX_KNOWN_BATCH_BYTES = 32 * 1024 * 1024;
/** Milliseconds without a message after which the broker is asked for the number of ready messages. */
const IDLE_MS = 250;
/** Milliseconds for a reply of the broker. RabbitMQ 4.0 needs up to 20 s after thousands of acknowledgements. */
const REPLY_TIMEOUT_MS = 30_000;
/** Milliseconds between two counts of the messages that are returned, and without a change of the count. */
const RETURN_INTERVAL_MS = 20;
const MAX_UNCHANGED_MS = 10_000;
/** Acknowledgements that RabbitMQ does not hold back: half of its limit for a quorum queue. */
const MAX_SINGLE_ACKS = 16;
/** Digits of a consumer tag: RabbitMQ returns the messages of several consumers in the order of their tags. */
const TAG_DIGITS = 6;

/**
 * Browser of one queue. A quorum queue permits no consumer without a limit, and a limit is at most 65 535, so that each
 * batch has a consumer of its own. A consumer starts when the one before it has got all its messages, which keeps the
 * order.
 */
export class QueueBrowser implements Browser {
  readonly messages: number;
  readonly #queue: string;
  readonly #state: BrowseState;
  /** Number of consumers that were started, and that were cancelled. */
  #started = 0;
  #cancelled = 0;
  /** Batch that is arriving. */
  #next: Promise<BrowseBatch> | undefined;
  #batchSize: number;
  /** Number of messages that are still to be requested. */
  #left: number;
  #requested = 0;
  #reads = 0;
  /** Oldest tag that is not acknowledged, and number of acknowledged messages. */
  #oldest = 1;
  #acknowledged = 0;
  /** Number of acknowledgements of one message each. */
  #singleAcks = 0;

  /** `messages` are ready on the queue. Nothing is requested yet. */
  constructor(
    channel: Channel,
    queue: string,
    messages: number,
    options: BrowseOptions,
  ) {
    const { maxMessages = Infinity, firstBatch = FIRST_BATCH } = options;
    this.messages = messages;
    this.#queue = queue;
    this.#state = {
      ...{ channel, options },
      ...{ wholeBytes: 0, isNearLimit: false, acknowledged: [] },
    };
    this.#batchSize = Math.min(Math.max(1, firstBatch), MAX_BATCH);
    this.#left = Math.min(messages, maxMessages);
  }

  /** Starts the first consumer; true if it is the only one of the queue. */
  async start(): Promise<boolean> {
    if (this.#left === 0) return true;
    this.#next = this.#startBatch();
    await this.#next;
    const { consumerCount } = await this.#ask();
    return consumerCount === 1;
  }

  async read(): Promise<readonly Delivery[] | undefined> {
    try {
      if (!this.#next && this.#left > 0) this.#next = this.#startBatch();
      // The last consumer stays until the end, so that nobody else begins to look.
      if (this.#next) void this.#endBatches(this.#started - 1);
      const batch = await this.#next;
      this.#next = undefined;
      if (!batch) return undefined;
      await this.#arrived(batch);
      // The next batch arrives while this one is looked at; not after the first one, which is often enough.
      if (this.#reads++ > 0 && this.#left > 0) this.#next = this.#startBatch();
      this.#next?.catch(() => {}); // the next call reports it
      return batch.take();
    } catch (error) {
      throw browseError(this.#queue, error);
    }
  }

  async close(): Promise<boolean> {
    const { channel } = this.#state;
    try {
      const next = await this.#next;
      // No message may be on its way: it would be returned behind those that come after it.
      if (next) await this.#arrived(next);
      const ended = this.#endBatches(this.#started);
      if (this.#singleAcks > MAX_SINGLE_ACKS) await this.#processed(ended);
      if (this.#started > 0) channel.nack(0, { multiple: true });
      await this.#inTime(ended);
      await this.#returned();
    } catch {
      // The channel is lost, or does not answer: the broker returns the messages when it is closed.
    }
    if (!channel.isOpen) return false;
    await channel.close(REPLY_TIMEOUT_MS);
    const reason = await channel.closed;
    return reason.code === "CLOSED" && reason.scope === "channel";
  }

  /** Cancels the consumers before one, and acknowledges their messages; never rejects. */
  async #endBatches(before: number): Promise<void> {
    const { channel } = this.#state;
    const replies: Promise<void>[] = [];
    while (this.#cancelled < before) {
      replies.push(channel.cancel(tagOf(this.#cancelled++)));
    }
    this.#acknowledge();
    await Promise.allSettled(replies);
  }

  /** Sends the acknowledgements: one for the oldest messages up to the first that stays, and one for each other. */
  #acknowledge(): void {
    const { channel, acknowledged } = this.#state;
    this.#state.acknowledged = [];
    this.#acknowledged += acknowledged.length;
    const tags = acknowledged.sort((a, b) => a - b);
    let count = 0;
    while (tags[count] === this.#oldest) count++, this.#oldest++;
    if (count > 0) channel.ack(this.#oldest - 1, true);
    for (const tag of tags.slice(count)) channel.ack(tag);
    this.#singleAcks += tags.length - count;
  }

  /**
   * Gives the broker time for the acknowledgements. RabbitMQ returns the messages of a quorum queue in another order while
   * it holds acknowledgements back.
   */
  async #processed(ended: Promise<void>): Promise<void> {
    await this.#inTime(ended);
    for (let turn = 0; turn < 5; turn++) {
      await this.#ask();
      await delay(RETURN_INTERVAL_MS, { at: Infinity });
    }
  }

  /**
   * Waits until the messages that stay are ready again. RabbitMQ holds back acknowledgements and returns of a quorum queue
   * while many others are being processed, and drops those that it holds back when the channel is closed.
   */
  async #returned(): Promise<void> {
    const expected = this.messages - this.#acknowledged;
    const deadline = { at: Infinity };
    let last = -1;
    for (let changed = performance.now();;) {
      const { messageCount } = await this.#ask();
      const now = performance.now();
      if (messageCount !== last) changed = now;
      last = messageCount;
      if (last >= expected || now - changed > MAX_UNCHANGED_MS) return;
      await delay(RETURN_INTERVAL_MS, deadline);
    }
  }

  async #startBatch(): Promise<BrowseBatch> {
    const size = Math.min(this.#nextSize(), this.#left);
    this.#requested += size;
    const batch = new BrowseBatch(this.#state, size);
    this.#left -= size;
    const consuming = this.#state.channel.consume(this.#queue, batch, {
      consumerTag: tagOf(this.#started++),
      prefetchCount: size,
    });
    await this.#inTime(consuming);
    return batch;
  }

  /**
   * Returns the size of the next batch. The first one is small, since it shows whether messages have to be replaced: no
   * more of those are taken than can be replaced before the look ends, because each delivery counts.
   */
  #nextSize(): number {
    const { isNearLimit } = this.#state;
    if (isNearLimit) return Math.min(MAX_NEAR_LIMIT_BATCH, this.#batchSize);
    const isFirst = this.#started === 0;
    return !isFirst && this.#knownSize() || this.#batchSize;
  }

  /** Returns the size of the next batch if it is one of known messages; else 0. */
  #knownSize(): number {
    const { known } = this.#state.options;
    if (!known || known.count <= this.#requested) return 0;
    const fit = MAX_KNOWN_BATCH_BYTES * known.count / (known.bytes + 1);
    const left = known.count - this.#requested;
    return Math.max(1, Math.min(MAX_KNOWN_BATCH, left, Math.floor(fit)));
  }

  /**
   * Waits for the messages of a batch, which are fewer than expected if others have taken some. Messages may arrive after
   * the reply that none is ready, and not after another reply.
   */
  async #arrived(batch: BrowseBatch): Promise<void> {
    const { channel } = this.#state;
    const lost = channel.closed;
    for (let before = -1, empty = 0; !batch.isComplete && empty < 3;) {
      await settledWithin(Promise.race([batch.completed, lost]), IDLE_MS);
      if (!channel.isOpen) throw await lost;
      const { length } = batch;
      const isIdle = length === before &&
        (await this.#ask()).messageCount === 0;
      empty = isIdle ? empty + 1 : 0;
      before = length;
    }
    const { length } = batch;
    if (length < batch.size) this.#left = 0;
    const average = batch.bytes / Math.max(1, length) + 1;
    const size = Math.floor(MAX_BATCH_BYTES / average);
    this.#batchSize = Math.min(MAX_BATCH, Math.max(1, size));
  }

  #ask() {
    return this.#inTime(checkQueue(this.#state.channel, this.#queue));
  }

  #inTime<T>(reply: Promise<T>): Promise<T> {
    const deadline = { at: performance.now() + REPLY_TIMEOUT_MS };
    return withDeadline(
      reply,
      deadline,
      () =>
        new TimeoutError(
          `Cannot look at ${this.#queue}: the broker has not replied in ${REPLY_TIMEOUT_MS} ms`,
          { inDoubt: false },
        ),
    );
  }
}

/** Returns the error for a look that the broker refuses, or whose channel was lost. */
export function browseError(queue: string, error: unknown): unknown {
  if (!(error instanceof AmqpError)) return error;
  return consumeError(queue, error) ??
    new ConnectionFailedError(
      `The look at ${queue} has ended: ${error.message}`,
    );
}

/** Returns the tag of the consumer of a batch. */
const tagOf = (batch: number): string =>
  `batch${`${batch}`.padStart(TAG_DIGITS, "0")}`;

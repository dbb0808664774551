/** Looks at the messages of a queue on a channel of its own, with one consumer after another. @module */
import { AmqpError, type Channel } from "../../../amqp/mod.ts";
import { settledWithin, withDeadline } from "../../../async/deadline.ts";
import { ConnectionFailedError, TimeoutError } from "../../../errors.ts";
import type { BrowseOptions, Browser, Delivery } from "../../transport.ts";
import { checkQueue } from "../connection/declarations.ts";
import { consumeError } from "../connection/topology_errors.ts";
import { BrowseBatch, type BrowseState } from "./browse_batch.ts";

/** Messages of the first batch by default. */
const FIRST_BATCH = 200;
/** Maximum number of messages of a batch, which has at most 4 MiB by the sizes of the batch before. */
const MAX_BATCH = 2_000;
const MAX_BATCH_BYTES = 2 * 1024 * 1024;
/** Milliseconds without a message after which the broker is asked for the number of ready messages. */
const IDLE_MS = 250;
/** Milliseconds for a reply of the broker, and for its return of all messages. */
const REPLY_TIMEOUT_MS = 10_000;
const CLOSE_TIMEOUT_MS = 30_000;
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
  /** Consumers that were started. */
  #started = 0;
  /** Batch that is arriving. */
  #next: Promise<BrowseBatch> | undefined;
  #batchSize: number;
  /** Number of messages that are still to be requested. */
  #left: number;
  #reads = 0;

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
    this.#state = { channel, options, wholeBytes: 0 };
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
      const tags = Array.from({ length: this.#started }, (_, n) => tagOf(n));
      // A message that is returned must not be delivered once more.
      const cancelled = Promise.all(tags.map((tag) => channel.cancel(tag)));
      if (tags.length > 0) channel.nack(0, { multiple: true });
      await this.#inTime(cancelled);
    } catch {
      // The channel is lost, or does not answer: the broker returns the messages when it is closed.
    }
    if (!channel.isOpen) return false;
    await channel.close(CLOSE_TIMEOUT_MS);
    const reason = await channel.closed;
    return reason.code === "CLOSED" && reason.scope === "channel";
  }

  async #startBatch(): Promise<BrowseBatch> {
    const size = Math.min(this.#batchSize, this.#left);
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

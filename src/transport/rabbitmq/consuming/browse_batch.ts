/** Batches of a queue browser: the messages that one consumer of a channel gets, which is not restored. @module */
import type {
  BodySink,
  Channel,
  ConsumerListener,
  ReceivedMessage,
} from "../../../amqp/mod.ts";
import { isNearDeliveryLimit } from "../../delivery_limit.ts";
import { BodyEdges } from "../../oversized_body.ts";
import type {
  BrowseOptions,
  Delivery,
  Message,
  Need,
} from "../../transport.ts";
import { messageOf, oversizedMessage } from "./rabbit_message.ts";

/**
 * Maximum bytes of the whole bodies above the limit that a browser holds at the same time; one of them may be larger. They
 * belong to messages that have to be replaced by copies.
 */
const MAX_WHOLE_BYTES = 32 * 1024 * 1024;

/** State that the batches of one browser share. */
export interface BrowseState {
  /** Channel of the browser. */
  readonly channel: Channel;
  /** Limit of bodies, and those that are needed. */
  readonly options: BrowseOptions;
  /** Bytes of the whole bodies above the limit that are held. */
  wholeBytes: number;
  /** True once a message has arrived that is near its delivery limit. */
  isNearLimit: boolean;
  /** Tags of the messages that are to be acknowledged, once their consumer is cancelled. */
  acknowledged: number[];
}

/**
 * A message that a browser has received. An acknowledgement waits for the end of its consumer, which would get another
 * message in return, before those of the next batch.
 */
class BrowsedDelivery implements Delivery {
  readonly message: Message;
  readonly key: string;
  readonly redelivered: boolean;
  /**
   * Number of deliveries that count towards the delivery limit of the queue. From RabbitMQ 4.3 on, a look that ends with
   * `basic.nack` is not among them.
   */
  readonly deliveryCount: number | undefined;
  readonly #state: BrowseState;
  readonly #tag: number;
  #wholeBytes: number;

  constructor(
    message: Message,
    received: ReceivedMessage,
    state: BrowseState,
    wholeBytes: number,
  ) {
    this.message = message;
    this.key = received.routingKey;
    this.redelivered = received.redelivered;
    this.deliveryCount = countOf(received);
    this.#state = state;
    this.#tag = received.deliveryTag;
    this.#wholeBytes = wholeBytes;
  }

  get lost(): boolean {
    return !this.#state.channel.isOpen;
  }

  exemptFromPrefetch(): Disposable {
    return { [Symbol.dispose]: () => {} }; // a batch is as large as its prefetch
  }

  ack(): void {
    this.#release();
    this.#state.acknowledged.push(this.#tag);
  }

  reject(requeue: boolean): void {
    this.#release();
    const { channel } = this.#state;
    if (requeue) channel.nack(this.#tag);
    else channel.reject(this.#tag, false);
  }

  #release(): void {
    this.#state.wholeBytes -= this.#wholeBytes;
    this.#wholeBytes = 0;
  }
}

/** Returns how many deliveries of a message count towards the delivery limit; undefined if the queue counts none. */
function countOf(
  { headers: { "x-delivery-count": count } }: ReceivedMessage,
): number | undefined {
  return Number.isSafeInteger(count) ? Number(count) : undefined;
}

/** Receiver of a body that is not needed. */
const NO_BODY: BodySink = { write: () => {}, abort: () => {} };

/** Body above the limit: its two ends, or the whole body of a message that has to be replaced by a copy. */
class BrowsedBody implements BodySink {
  /** Bytes that count as held: the length of a whole body, 0 for two ends. */
  readonly wholeBytes: number;
  readonly #whole: Uint8Array | undefined;
  readonly #edges: BodyEdges;
  #received = 0;

  constructor(received: ReceivedMessage, state: BrowseState) {
    const { bodySize } = received;
    const deliveryCount = countOf(received);
    const fits = state.wholeBytes === 0 ||
      state.wholeBytes + bodySize <= MAX_WHOLE_BYTES;
    const isWhole = fits && isNearDeliveryLimit({ deliveryCount });
    this.wholeBytes = isWhole ? bodySize : 0;
    this.#whole = isWhole ? new Uint8Array(bodySize) : undefined;
    this.#edges = new BodyEdges(isWhole ? 0 : bodySize);
  }

  write(part: Uint8Array): void {
    if (this.#whole) this.#whole.set(part, this.#received);
    else this.#edges.add(part);
    this.#received += part.length;
  }

  abort(): void {}

  /** Returns the message with what was kept of its body. */
  messageOf(received: ReceivedMessage): Message {
    return oversizedMessage(received, this.#whole ?? this.#edges.bytes);
  }
}

/** Messages of one consumer, of which there are at most as many as its prefetch. */
export class BrowseBatch implements ConsumerListener {
  /** Resolves when all messages have arrived, or the broker has cancelled the consumer. */
  readonly completed: Promise<void>;
  /** Maximum number of messages. */
  readonly size: number;
  readonly #state: BrowseState;
  readonly #complete: () => void;
  /** Messages that have arrived, in the order of the queue. */
  #deliveries: Delivery[] = [];
  #large: BrowsedBody | undefined;
  /** Part that is needed of the message that is arriving. */
  #need: Need | undefined;
  #arrived = 0;
  #bytes = 0;
  #isComplete = false;

  /** Expects `size` messages. */
  constructor(state: BrowseState, size: number) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#state = state;
    this.size = size;
    this.completed = promise;
    this.#complete = () => {
      this.#isComplete = true;
      resolve();
    };
  }

  /** True once no further message is expected. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Number of messages that have arrived. */
  get length(): number {
    return this.#arrived;
  }

  /** Returns the messages that are needed, and forgets them: the channel holds the batch until the end. */
  take(): readonly Delivery[] {
    const deliveries = this.#deliveries;
    this.#deliveries = [];
    return deliveries;
  }

  /** Bytes of the bodies, also of those that were not kept. */
  get bytes(): number {
    return this.#bytes;
  }

  openBody(received: ReceivedMessage): BodySink | undefined {
    this.#need = this.#needOf(received);
    if (this.#need !== "body") return NO_BODY;
    const { maxBodyBytes } = this.#state.options;
    if (received.bodySize <= maxBodyBytes) return undefined;
    const large = new BrowsedBody(received, this.#state);
    this.#state.wholeBytes += large.wholeBytes;
    return this.#large = large;
  }

  onMessage(received: ReceivedMessage): void {
    const large = this.#large;
    const need = this.#need ?? this.#needOf(received); // an empty body is not opened
    this.#large = this.#need = undefined;
    this.#bytes += received.bodySize;
    if (need !== "none") this.#deliver(received, need, large);
    if (++this.#arrived === this.size) this.#complete();
  }

  #deliver(
    received: ReceivedMessage,
    need: Need,
    large: BrowsedBody | undefined,
  ): void {
    const isWhole = need === "body" || received.bodySize === 0;
    const message = large?.messageOf(received) ??
      (isWhole
        ? messageOf(received)
        : oversizedMessage(received, received.body));
    const whole = large?.wholeBytes ?? 0;
    this.#deliveries.push(
      new BrowsedDelivery(message, received, this.#state, whole),
    );
  }

  #needOf(received: ReceivedMessage): Need {
    const { headers, messageId, bodySize: bytes } = received;
    const { onHead } = this.#state.options;
    const deliveryCount = countOf(received);
    if (isNearDeliveryLimit({ deliveryCount })) this.#state.isNearLimit = true;
    return onHead?.({ headers, messageId, bytes, deliveryCount }) ?? "body";
  }

  onCancelled(): void {
    this.#complete();
  }
}

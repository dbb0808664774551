/** One consumer on a channel: `basic.consume`, and the receiver that makes deliveries of its messages. @module */
import type {
  BodySink,
  Channel,
  ConsumerListener,
  ReceivedMessage,
} from "../../../amqp/mod.ts";
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../../async/timer_wheel.ts";
import { logger } from "../../../logging.ts";
import {
  type AckBatcher,
  type DeliveryConsumer,
  RabbitDelivery,
} from "./deliveries.ts";
import {
  argumentsOf,
  type ConsumerRequest,
  type ConsumerSpec,
  countsDeliveries,
  isRenewable,
  prefetchOf,
  type RequeueingReceiver,
} from "./consumer_spec.ts";
import { LargeBody } from "./large_body.ts";
import { messageOf } from "./rabbit_message.ts";
import type { Renewals } from "./consumer_renewal.ts";
import type { HealthRecorder } from "../connection/connection_health.ts";

/**
 * Milliseconds for the reply to `basic.consume`, doubled after each start without one, up to the maximum. Without a reply, the
 * channel is closed and the consumer is started on another one: RabbitMQ registers the consumer of a quorum queue with the
 * queue's leader, and a channel that waits for a frozen leader stays blocked although the queue has a new one.
 */
const CONSUME_TIMEOUT_MS = 5_000;
const MAX_CONSUME_TIMEOUT_MS = 60_000;

/** A channel with its acknowledgements. */
export interface ConsumingChannel {
  readonly channel: Channel;
  readonly acks: AckBatcher;
}

/** Collaborators of a receiver. */
export interface ReceiverOptions {
  /** Channel of the consumer. */
  readonly consuming: ConsumingChannel;
  /** Health of the connection. */
  readonly recorder: HealthRecorder;
  /** Renewals of the consumers on the channel. */
  readonly renewals: Renewals;
  /** Tag of the consumer. */
  readonly tag: string;
}

/** Events of a receiver. */
interface ReceiverListener {
  /** Called with the offset of each message of a stream. */
  onOffset(offset: number): void;
  /** Called when the broker has cancelled the consumer. */
  onCancelled(): void;
}

/** Receives the messages of one consumer. */
class ConsumerReceiver implements ConsumerListener, RequeueingReceiver {
  readonly #request: ConsumerRequest;
  readonly #options: ReceiverOptions;
  readonly #consumer: DeliveryConsumer;
  readonly #listener: ReceiverListener;
  /** Body that is arriving, if it is above the limit. */
  #large: LargeBody | undefined;
  /** Requeues a message that arrived after the cancellation; undefined before `requeueAll` was called. */
  #requeue: ((deliveryTag: number) => void) | undefined;

  constructor(
    request: ConsumerRequest,
    options: ReceiverOptions,
    listener: ReceiverListener,
  ) {
    const { consuming: { acks }, renewals, tag } = options;
    const prefetch = isRenewable(request) ? request.options.prefetch : Infinity;
    this.#request = request;
    this.#options = options;
    this.#listener = listener;
    this.#consumer = {
      acks,
      prefetch: request.options.prefetch,
      countsDeliveries: countsDeliveries(request.route),
      exempt: (bytes, evict) => renewals.add(tag, { prefetch, bytes, evict }),
    };
  }

  openBody(message: ReceivedMessage): BodySink | undefined {
    const { limit } = this.#request.options;
    if (!limit || message.bodySize <= limit.bytes) return undefined;
    return this.#large = new LargeBody(message, limit);
  }

  onMessage(received: ReceivedMessage): void {
    const { consuming: { acks, channel }, recorder } = this.#options;
    const large = this.#large;
    this.#large = undefined;
    acks.delivered(received.deliveryTag);
    if (this.#requeue) {
      large?.release();
      return this.#requeue(received.deliveryTag);
    }
    recorder.recordProof();
    this.#recordOffset(received);
    const delivery = new RabbitDelivery(
      large?.messageOf(received) ?? messageOf(received),
      received,
      this.#consumer,
      large && (() => large.release()),
    );
    if (large?.kept === "later") {
      // Until then it is unacknowledged and counts against the prefetch.
      return large.postpone({
        get alive() {
          return channel.isOpen;
        },
        requeue: () => delivery.reject(true),
      });
    }
    try {
      this.#request.onDelivery(delivery);
    } catch (error) {
      logger("bus").error("A receiver threw: {error}", { error });
    }
  }

  onCancelled(): void {
    this.#listener.onCancelled();
  }

  /** Requeues all later messages of a consumer that is cancelled, once the broker has confirmed that. */
  requeueAll(cancelled: Promise<void>): void {
    const { acks } = this.#options.consuming;
    this.#requeue = (tag) => void cancelled.then(() => acks.reject(tag, true));
  }

  #recordOffset({ headers }: ReceivedMessage): void {
    const offset = headers["x-stream-offset"];
    if (typeof offset === "number") this.#listener.onOffset(offset);
  }
}

/**
 * Starts a consumer of a queue. `onCancelled` is called when the broker has cancelled the consumer, because its queue was
 * deleted or a message was not acknowledged in time. Messages may arrive until the client's cancellation is answered.
 *
 * @throws {Error} the channel was closed, or the consumer was cancelled together with `consume-ok`.
 */
export async function startConsumer(
  spec: ConsumerSpec,
  queue: string,
  options: ReceiverOptions,
  onCancelled: () => void,
): Promise<void> {
  const { consuming: { channel }, tag } = options;
  const { exclusive = false } = spec.options;
  let cancelled = false;
  const receiver = new ConsumerReceiver(spec, options, {
    onOffset: (offset) => spec.offset = offset,
    onCancelled: () => {
      cancelled = true;
      onCancelled();
    },
  });
  spec.receiver = receiver;
  const limit = limitReply(spec, channel);
  await channel.consume(queue, receiver, {
    consumerTag: tag,
    exclusive,
    arguments: argumentsOf(spec),
    prefetchCount: prefetchOf(spec),
  }).finally(() => limit[Symbol.dispose]());
  lastStarts.set(channel, performance.now());
  spec.unanswered = 0;
  if (!channel.isOpen) throw new Error("channel lost");
  if (cancelled) throw new Error("consumer cancelled");
}

/** Moment of the last start of a consumer on a channel, in milliseconds of `performance.now()`. */
const lastStarts = new WeakMap<Channel, number>();

/**
 * Closes the channel if the broker does not start the consumer in time. While it starts others on the channel, whose
 * requests it handles one after the other, it is not blocked.
 */
function limitReply(spec: ConsumerSpec, channel: Channel): Disposable {
  const { unanswered = 0 } = spec;
  const ms = Math.min(
    MAX_CONSUME_TIMEOUT_MS,
    CONSUME_TIMEOUT_MS * 2 ** unanswered,
  );
  const expire = () => {
    if (!channel.isOpen) return; // an earlier consumer has blocked it
    const last = lastStarts.get(channel) ?? -Infinity;
    if (performance.now() < last + ms) {
      timer = setDeadline(last + ms, expire);
      return;
    }
    spec.unanswered = unanswered + 1;
    const queue = spec.route.queue.name;
    const text =
      "The broker has not started a consumer of {queue} in {ms} ms: trying again on another channel";
    logger("bus").warn(text, { queue, ms }, queue);
    void channel.close(0); // the reply would come no sooner
  };
  let timer: Timer = setDeadline(performance.now() + ms, expire);
  return { [Symbol.dispose]: () => clearDeadline(timer) };
}

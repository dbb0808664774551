/** One consumer on a channel: `basic.consume`, and the receiver that makes deliveries of its messages. @module */
import type { Channel } from "npm:amqplib@2.3.1";
import { logger } from "../../../logging.ts";
import { bodyBudget } from "../../oversized_body.ts";
import type { Delivery } from "../../transport.ts";
import {
  type AckBatcher,
  type DeliveryConsumer,
  RabbitDelivery,
} from "./deliveries.ts";
import type { Receive } from "../amqplib/channel_reader.ts";
import type { OpenChannel } from "../amqplib/channel.ts";
import {
  argumentsOf,
  type ConsumerSpec,
  countsDeliveries,
  isRenewable,
  prefetchOf,
} from "./consumer_spec.ts";
import type { Renewals } from "./consumer_renewal.ts";
import type { HealthRecorder } from "../connection/connection_health.ts";

/** A channel with its acknowledgements. */
export interface ConsumingChannel {
  readonly channel: OpenChannel<Channel>;
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

/** Requeues a delivery when there is room for its body; until then it is unacknowledged and counts against the prefetch. */
function postpone(channel: OpenChannel<Channel>, delivery: Delivery): void {
  bodyBudget.postpone({
    get alive() {
      return channel.alive;
    },
    requeue: () => delivery.reject(true),
  });
}

const releaseBudget = () => bodyBudget.release();

/** Creates the receiver of a consumer; a receiver must not throw. */
function receiverOf(
  { consuming: { acks, channel }, recorder, renewals, tag }: ReceiverOptions,
  spec: ConsumerSpec,
): Receive {
  const prefetch = isRenewable(spec) ? spec.options.prefetch : Infinity;
  const consumer: DeliveryConsumer = {
    acks,
    countsDeliveries: countsDeliveries(spec.route),
    exempt: (bytes, evict) => renewals.add(tag, { prefetch, bytes, evict }),
  };
  return (message, fields, body) => {
    recorder.recordProof();
    const offset = message.headers["x-stream-offset"];
    if (typeof offset === "number") spec.offset = offset;
    acks.delivered(fields.tag);
    const delivery = new RabbitDelivery(
      message,
      fields,
      consumer,
      body === "whole" ? releaseBudget : undefined,
    );
    if (body === "later") return postpone(channel, delivery);
    try {
      spec.onDelivery(delivery);
    } catch (error) {
      logger("bus").error("A receiver threw: {error}", { error });
    }
  };
}

/**
 * Starts a consumer of a queue. `onCancelled` is called when the broker has cancelled the consumer, because its queue was
 * deleted.
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
  const { exclusive = false, limit } = spec.options;
  const { consumers } = channel.input;
  const prefetch = prefetchOf(spec);
  const args = argumentsOf(spec);
  let cancelled = false;
  const cancel = () => {
    cancelled = true;
    consumers.delete(tag);
    onCancelled();
  };
  consumers.set(tag, { receive: receiverOf(options, spec), limit });
  // Both are sent in the same turn, because the prefetch applies to the next consumer on the channel.
  await Promise.all([
    channel.channel.prefetch(prefetch),
    channel.channel.consume(queue, cancel, {
      consumerTag: tag,
      exclusive,
      arguments: args,
    }),
  ]);
  if (!channel.alive) throw new Error("channel lost");
  if (cancelled) throw new Error("queue lost");
}

/** Creates the receiver of a consumer that was cancelled: requeues all messages once the broker has confirmed the cancellation. */
export function requeueAfterCancel(
  acks: AckBatcher,
  cancelled: Promise<void>,
): Receive {
  const tags: number[] = [];
  void cancelled.then(() => {
    for (const tag of tags) acks.reject(tag, true);
  });
  return (_message, { tag }) => {
    acks.delivered(tag);
    tags.push(tag);
  };
}

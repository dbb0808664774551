/** What one consumer does with what comes to it. @module */
import type { Channel } from "npm:amqplib@2.3.1";
import { logger } from "../../../logging.ts";
import { bodyBudget } from "../../oversized_body.ts";
import type { Delivery, Message } from "../../transport.ts";
import { type AckBatcher, RabbitDelivery } from "./deliveries.ts";
import type { Receive } from "../amqplib/channel_reader.ts";
import type { Open } from "../amqplib/channel.ts";
import {
  type ConsumerSpec,
  countsDeliveries,
  isRenewable,
} from "./consumer_spec.ts";
import type { Renewals } from "./consumer_renewal.ts";
import type { HealthRecorder } from "../connection/connection_health.ts";

/** A channel, and what is acknowledged on it. */
export interface Consuming {
  /** The channel. */
  readonly open: Open<Channel>;
  /** Acknowledgements. */
  readonly acks: AckBatcher;
}

/** What a consumer is of. */
export interface Receiving {
  /** Its channel. */
  readonly consuming: Consuming;
  /** Health of its connection. */
  readonly recorder: HealthRecorder;
  /** Of its channel. */
  readonly renewals: Renewals;
  /** Its tag. */
  readonly tag: string;
}

/** It comes again when there is room for its body; until then it is unacknowledged, and takes its place in the prefetch. */
function postpone(open: Open<Channel>, delivery: Delivery): void {
  bodyBudget.postpone({
    get alive() {
      return open.alive;
    },
    giveBack: () => delivery.reject(true),
  });
}

/** Takes what comes to a consumer; must not throw. */
export function receiver(
  { consuming: { acks, open }, recorder, renewals, tag }: Receiving,
  spec: ConsumerSpec,
): Receive {
  const prefetch = isRenewable(spec) ? spec.options.prefetch : Infinity;
  const counted = countsDeliveries(spec.route);
  return (message, key, number, redelivered, body) => {
    recorder.proven();
    const offset = message.headers["x-stream-offset"];
    if (typeof offset === "number") spec.offset = offset;
    acks.delivered(number);
    const waits = (evict: () => void) =>
      renewals.wait(tag, prefetch, message.body.length, evict);
    const delivery = new RabbitDelivery(
      message,
      key,
      redelivered,
      acks,
      number,
      waits,
    );
    if (counted) delivery.deliveryCount = countOf(message.headers);
    if (body === "later") return postpone(open, delivery);
    if (body === "whole") delivery.settled = () => bodyBudget.give();
    try {
      spec.receive(delivery);
    } catch (error) {
      logger("bus").error("A receiver threw: {error}", { error });
    }
  };
}

/** Takes what comes to a consumer that nobody handles any more; all of it goes back once the consumer is cancelled. */
export function giveBack(acks: AckBatcher, cancelled: Promise<void>): Receive {
  const held: number[] = [];
  void cancelled.then(() => {
    for (const number of held) acks.reject(number, true);
  });
  return (_message, _key, number) => {
    acks.delivered(number);
    held.push(number);
  };
}

/** A quorum queue says nothing at the first delivery, and counts from the second. */
function countOf({ "x-delivery-count": count }: Message["headers"]): number {
  return Number.isSafeInteger(count) ? Number(count) : 0;
}

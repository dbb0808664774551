/** Limit of the deliveries of a message, above which a broker drops the message. @module */
import type { Delivery } from "./transport.ts";

/**
 * Number of earlier deliveries at which a message is replaced by a copy, so that the broker counts from 0 again. It is half
 * of the default limit of RabbitMQ 4 for quorum queues, 20, because the broker may refuse the copy for some time.
 */
const REPLACED_AFTER = 10;

/** True for a message that the broker might drop after more deliveries. */
export const isNearDeliveryLimit = (
  { deliveryCount = 0 }: Pick<Delivery, "deliveryCount">,
): boolean => deliveryCount >= REPLACED_AFTER;

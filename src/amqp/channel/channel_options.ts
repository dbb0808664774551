/** Options of channels and their requests. @module */
import type { Args, RequestName } from "../codec/method_args.ts";
import type { ReturnedMessage } from "./channel_input.ts";

/**
 * Options of a channel.
 * @category AMQP
 */
export interface ChannelOptions {
  /** True for publisher confirms; default false. */
  readonly confirms?: boolean | undefined;
  /** Called with each mandatory message that reached no queue, before its confirmation. Must not throw. */
  readonly onReturned?: ((returned: ReturnedMessage) => void) | undefined;
  /** Called when the broker stops or resumes the messages that are published on the channel (`channel.flow`). */
  readonly onFlow?: ((active: boolean) => void) | undefined;
}

/**
 * Requests of a channel that are sent with `Channel.request`.
 * @category AMQP
 */
export type ChannelRequest = Extract<
  RequestName,
  | `exchange.${string}`
  | `queue.${string}`
  | "basic.qos"
  | "basic.recover"
  | "channel.flow"
>;

/**
 * Arguments of a request by their names in AMQP, in camel case; those that are omitted are 0, false or empty.
 * @category AMQP
 */
export type RequestArgs<N extends RequestName> = Partial<
  Omit<Args<N>, "reserved" | "noWait">
>;

/**
 * Options of a consumer.
 * @category AMQP
 */
export interface ConsumeOptions
  extends Omit<RequestArgs<"basic.consume">, "queue"> {
  /** Maximum number of unacknowledged messages; 0 = no limit. Default: that of the consumer before it on the channel. */
  readonly prefetchCount?: number | undefined;
}

/**
 * Options of `Channel.nack`.
 * @category AMQP
 */
export interface NackOptions {
  /** True to reject all deliveries up to this one; default false. */
  readonly multiple?: boolean;
  /** False to drop the message, which a policy may dead-letter; default true: the broker delivers it again. */
  readonly requeue?: boolean;
}

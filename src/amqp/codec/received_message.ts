/** Messages that were received, and their receivers. @module */
import type { Content } from "./content.ts";
import type { Table } from "./field_value.ts";

/** Values of a method that is followed by a content: `basic.deliver`, `basic.get-ok` or `basic.return`. */
export interface Envelope {
  /** Tag by which the message is acknowledged; 0 of a returned message. */
  readonly deliveryTag: number;
  /** True if the broker may have delivered the message before. */
  readonly redelivered: boolean;
  /** Exchange to which the message was published. */
  readonly exchange: string;
  /** Routing key with which the message was published. */
  readonly routingKey: string;
}

/**
 * A message that was received.
 * @category AMQP
 */
export interface ReceivedMessage extends Content, Envelope {
  /** Body, which stays valid for as long as it is held; empty if a {@linkcode BodySink} has received it. */
  readonly body: Uint8Array;
  /** Length of the body in bytes. */
  readonly bodySize: number;
  /** Headers of the application; empty if there are none. */
  readonly headers: Table;
  /** Properties as AMQP encodes them. */
  readonly encodedProperties: Uint8Array;
  /** Reason why properties could not be decoded, without quoting them; those properties are then missing. */
  readonly unreadable: string | undefined;
}

/**
 * Receiver of a body that is not kept in memory as a whole. Its methods must not throw; an error is reported as an uncaught
 * one.
 * @category AMQP
 */
export interface BodySink {
  /** Called with each part of the body. The bytes are valid during the call only. */
  write(part: Uint8Array): void;
  /** Called if the rest of the body will not arrive, because the channel is closed. */
  abort(): void;
}

/** Receiver of messages. */
export interface MessageReceiver {
  /** Called with each message. */
  onMessage(message: ReceivedMessage): void;
  /** Called before the body of a message arrives. May return a receiver, so that the body is not kept in memory. */
  openBody?(message: ReceivedMessage): BodySink | undefined;
}

/** Messages of the driver's interface, made of received ones. @module */
import type { ReceivedMessage } from "../../../amqp/mod.ts";
import type { Message } from "../../transport.ts";

/** A received message, with the members that the driver's interface has. A copy by spreading has no others. */
class RabbitMessage implements Message {
  readonly body: Uint8Array;
  readonly headers: Message["headers"];
  readonly messageId: string | undefined;
  readonly correlationId: string | undefined;
  readonly replyTo: string | undefined;
  readonly expiration: number | undefined;
  readonly persistent: boolean;
  declare readonly unreadable?: string;
  declare readonly oversized?: number;
  readonly #received: ReceivedMessage;

  constructor(received: ReceivedMessage, body: Uint8Array) {
    this.body = body;
    this.headers = received.headers;
    this.messageId = received.messageId;
    this.correlationId = received.correlationId;
    this.replyTo = received.replyTo;
    this.expiration = received.expiration;
    this.persistent = received.persistent === true;
    this.#received = received;
  }

  get encodedProperties(): Uint8Array {
    return this.#received.encodedProperties;
  }
}

/** Returns the message of a received one. */
export function messageOf(received: ReceivedMessage): Message {
  const message = new RabbitMessage(received, received.body);
  const { unreadable } = received;
  return unreadable === undefined
    ? message
    : Object.assign(message, { unreadable });
}

/** Returns the message of a received one whose body is above the limit, with the part of its body that is kept. */
export function oversizedMessage(
  received: ReceivedMessage,
  body: Uint8Array,
): Message {
  const { unreadable, bodySize: oversized } = received;
  const message = new RabbitMessage(received, body);
  return Object.assign(message, {
    oversized,
    ...(unreadable !== undefined && { unreadable }),
  });
}

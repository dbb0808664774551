/** Sizes of messages that the broker accepts: its `max_message_size`, which AMQP does not tell. @module */
import type { AmqpError, Connection } from "../../../amqp/mod.ts";
import type { RejectedError } from "../../../errors.ts";
import type { Message } from "../../transport.ts";
import type { Route } from "../routes/entities.ts";
import type { SupervisedConnection } from "../connection/supervised_connection.ts";
import { tooLargeError } from "./publish_errors.ts";

/** Text with which RabbitMQ closes the channel of a message that is larger than its limit. */
const TOO_LARGE = /message size \d+ (?:is )?larger than \D*max size (\d+)/;

/** Bytes of a body that every broker in use accepts: RabbitMQ's default limit is 16 MiB, and 128 MiB before 4.0. */
const SMALL_BYTES = 16 * 1024;

/**
 * The limit as far as one connection to a broker has shown it, in bytes of a body. Every larger message is refused at once, since
 * the broker would close its channel, and lose what follows on it.
 */
export class MessageSizes {
  readonly #connection: SupervisedConnection;
  /** Connection to which the sizes belong: the next one may lead to another node. */
  #owner: Connection | undefined;
  #accepted = SMALL_BYTES;
  #limit = Infinity;

  /** Knows nothing yet. */
  constructor(connection: SupervisedConnection) {
    this.#connection = connection;
  }

  /** True if the broker has accepted a body of that length, or certainly does. */
  isAccepted(bytes: number): boolean {
    this.#update();
    return bytes <= this.#accepted;
  }

  /** Notes that the broker has accepted a body of that length. */
  accept(bytes: number): void {
    this.#update();
    this.#accepted = Math.max(this.#accepted, bytes);
  }

  /** Learns the limit from the end of a channel. False if another reason has closed the channel. */
  learn({ replyCode, replyText = "" }: AmqpError): boolean {
    const [, limit] = replyCode === 406 && TOO_LARGE.exec(replyText) || [];
    if (limit === undefined) return false;
    this.#update();
    this.#limit = Number(limit);
    this.#accepted = Math.min(this.#accepted, this.#limit);
    return true;
  }

  /** Returns the error for a message that the broker would refuse; undefined for any other one. */
  refusal(route: Route, { body }: Message): RejectedError | undefined {
    this.#update();
    return body.byteLength > this.#limit
      ? tooLargeError(route, body.byteLength, this.#limit)
      : undefined;
  }

  #update(): void {
    const { current } = this.#connection;
    if (!current || current === this.#owner) return;
    this.#owner = current;
    this.#accepted = SMALL_BYTES;
    this.#limit = Infinity;
  }
}

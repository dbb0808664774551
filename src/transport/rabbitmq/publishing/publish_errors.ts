/** Outcomes of a publish, and their errors. @module */
import type { AmqpError, ReturnedMessage } from "../../../amqp/mod.ts";
import {
  BlockedError,
  ConnectionDisposedError,
  ConnectionFailedError,
  InvalidValueError,
  NoRouteError,
  RejectedError,
  TimeoutError,
  UnconfirmedError,
} from "../../../errors.ts";
import { oneLine } from "../../../logging.ts";
import type { Route } from "../routes/entities.ts";
import type { SupervisedConnection } from "../connection/supervised_connection.ts";

/** Outcome of one attempt to publish; the end of the channel if the broker did not settle the message. */
export type PublishOutcome = "ack" | "returned" | "nack" | AmqpError;

const destination = (route: Route) =>
  route.exchange
    ? `exchange ${route.exchange.name}, key ${oneLine(route.key)}`
    : `queue ${oneLine(route.key)}`; // a reply queue is named by its caller, so that its name may hold any character

/** Creates the error for a message that reached no queue. */
export function unroutableError(route: Route): Error {
  return new NoRouteError(
    `No queue takes a message for ${
      destination(route)
    }: nobody has served it yet`,
    { data: { key: route.key } },
  );
}

/** Creates the error for a message that the broker rejected, by `basic.nack` or by closing the channel. */
export function rejectedError(route: Route, end?: AmqpError): Error {
  const why = end?.replyText ?? end?.message ??
    "a queue is full, or cannot store the message";
  return new RejectedError(
    `The broker refused a message for ${destination(route)}: ${why}`,
    { data: end ? { reason: reasonOf(end), replyCode: end.replyCode } : {} },
  );
}

/** Creates the error for a message whose body is larger than the broker accepts; both sizes in bytes. */
export function tooLargeError(
  route: Route,
  size: number,
  maxSize: number,
): RejectedError {
  return new RejectedError(
    `The broker refused a message for ${
      destination(route)
    }: its body has ${size} bytes, and the broker takes ${maxSize} at most; send less, or raise max_message_size in rabbitmq.conf`,
    { data: { reason: "content", replyCode: 406, size, maxSize } },
  );
}

/** Returns `content` if the broker rejects the message because of its content (406, precondition failed). */
const reasonOf = ({ replyCode }: AmqpError) =>
  replyCode === 406 ? "content" : "refused";

/** Creates the error for a message that AMQP cannot encode. */
export function invalidMessageError(route: Route, error: Error): Error {
  return new InvalidValueError(
    `Cannot send a message for ${destination(route)}: ${error.message}`,
    { cause: error },
  );
}

/** Creates the error for a publisher that was closed. */
export function disposedError(sent: boolean): Error {
  return new ConnectionDisposedError(
    "Cannot send: the connection was disposed",
    { inDoubt: sent },
  );
}

/** Creates the error for a deadline that has passed, by the state of the connection. */
export function publishTimeoutError(
  connection: SupervisedConnection,
  route: Route,
  sent: boolean,
): Error {
  const subject = `a message for ${destination(route)}`;
  if (connection.blocked) {
    return new BlockedError(
      `The broker accepts no messages (${connection.blocked}): ${subject} was not accepted in time`,
      { inDoubt: sent },
    );
  }
  if (sent) {
    return new UnconfirmedError(
      `The broker did not confirm ${subject} in time; the message may have arrived`,
    );
  }
  if (!connection.current) {
    return new ConnectionFailedError(
      `Cannot send ${subject}: ${connection.reason}`,
    );
  }
  return new TimeoutError(
    `Cannot send ${subject} in time: earlier messages fill the window, because the broker does not confirm them or the connection is too slow`,
    { inDoubt: false },
  );
}

/**
 * Mandatory messages that were returned. RabbitMQ sends `basic.return` before the confirm of a message, but one confirm
 * may settle many messages.
 */
export class ReturnedMessages {
  readonly #counts = new Map<string, number>();

  /** Records a returned message. */
  add({ message }: ReturnedMessage): void {
    const { messageId, exchange, routingKey } = message;
    const id = `${messageId} ${exchange} ${routingKey}`;
    this.#counts.set(id, (this.#counts.get(id) ?? 0) + 1);
  }

  /** Removes the record of a message that is now confirmed; returns true if the message was returned. */
  tryRemove(id: string, exchange: string, key: string): boolean {
    if (this.#counts.size === 0) return false;
    const sent = `${id} ${exchange} ${key}`;
    const count = this.#counts.get(sent);
    if (count === undefined) return false;
    if (count > 1) this.#counts.set(sent, count - 1);
    else this.#counts.delete(sent);
    return true;
  }
}

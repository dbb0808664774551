/** What may become of a message on its way to the broker, in words and as errors. @module */
import type { Message as Returned } from "npm:amqplib@2.3.1";
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
import type { Route } from "../connection/routes.ts";
import type { ChannelEnd } from "../amqplib/channel.ts";
import type { SupervisedConnection } from "../connection/supervised_connection.ts";

/** What became of one attempt to send. */
export type PublishOutcome = "taken" | "returned" | "refused" | ChannelEnd;

const where = (route: Route) =>
  route.exchange
    ? `exchange ${route.exchange.name}, key ${oneLine(route.key)}`
    : `queue ${oneLine(route.key)}`; // a reply's is what the caller said

/** No queue takes it. */
export function unroutable(route: Route): Error {
  return new NoRouteError(
    `No queue takes a message for ${where(route)}: nobody has served it yet`,
    { data: { key: route.key } },
  );
}

/** The broker said no, by a negative confirm or by the end of the channel. */
export function rejected(route: Route, end?: ChannelEnd): Error {
  const why = end?.reason ?? "its queue is full, or cannot store it";
  return new RejectedError(
    `The broker refused a message for ${where(route)}: ${why}`,
    { data: end ? { reason: reasonOf(end), replyCode: end.code } : {} },
  );
}

/** `content`: the broker refuses the message for what it holds (precondition failed). */
const reasonOf = ({ code }: ChannelEnd) => code === 406 ? "content" : "refused";

/** AMQP cannot carry it. */
export function unsendable(route: Route, error: Error): Error {
  return new InvalidValueError(
    `Cannot send a message for ${where(route)}: ${error.message}`,
    { cause: error },
  );
}

/** The publisher was closed. */
export function disposed(sent: boolean): Error {
  return new ConnectionDisposedError(
    "Cannot send: the connection was disposed",
    { inDoubt: sent },
  );
}

/** The deadline passed, for a reason that the side knows. */
export function late(
  connection: SupervisedConnection,
  route: Route,
  sent: boolean,
): Error {
  const what = `a message for ${where(route)}`;
  if (connection.blocked) {
    return new BlockedError(
      `The broker takes no messages (${connection.blocked}): ${what} was not taken in time`,
      { inDoubt: sent },
    );
  }
  if (sent) {
    return new UnconfirmedError(
      `The broker did not confirm ${what} in time; it may have it`,
    );
  }
  if (!connection.socket) {
    return new ConnectionFailedError(
      `Cannot send ${what}: ${connection.reason}`,
    );
  }
  return new TimeoutError(
    `Cannot send ${what} in time: the connection is slower than what is sent`,
    { inDoubt: false },
  );
}

/** Confirmed sends that came back. A return comes before its confirm, but one confirm may stand for many sends. */
export class Returns {
  readonly #counts = new Map<string, number>();

  /** One came back. */
  add({ fields, properties }: Returned): void {
    const sent =
      `${properties.messageId} ${fields.exchange} ${fields.routingKey}`;
    this.#counts.set(sent, (this.#counts.get(sent) ?? 0) + 1);
  }

  /** Whether the send that is now confirmed had come back. */
  take(id: string, exchange: string, key: string): boolean {
    if (this.#counts.size === 0) return false;
    const sent = `${id} ${exchange} ${key}`;
    const count = this.#counts.get(sent);
    if (count === undefined) return false;
    if (count > 1) this.#counts.set(sent, count - 1);
    else this.#counts.delete(sent);
    return true;
  }
}

/** Publication: a message that is published until the broker has confirmed it, and the state of its attempts. @module */
import { backoff } from "../../../async/backoff.ts";
import { type Deadline, delay } from "../../../async/deadline.ts";
import type { Message } from "../../transport.ts";
import type { Route } from "../routes/entities.ts";
import { isFatal } from "../connection/topology_errors.ts";
import type { MessageSizes } from "./message_sizes.ts";
import {
  type PublishOutcome,
  rejectedError,
  unroutableError,
} from "./publish_errors.ts";

/** Milliseconds of the first and of the longest pause before a refused message is sent again. */
export const REFUSED_PAUSES_MS = [50, 1_000] as const;

/** A message and the state of its attempts. */
export interface Publication {
  readonly route: Route;
  readonly message: Message;
  readonly deadline: Deadline;
  /** True if the broker may have received the message. */
  sent: boolean;
  /** True if the broker has refused all attempts until now by `basic.nack`. */
  refused: boolean;
  /** Attempt that the broker has not settled yet. */
  pending: Promise<PublishOutcome> | undefined;
  /** True while the message has room in the window for messages in flight. */
  hasRoom: boolean;
  /** True if the message may be the reason why the broker closed a channel. */
  suspect: boolean;
}

/** Outcome of an attempt that did not succeed. */
export type Failure = Exclude<PublishOutcome, "ack">;

/** Returns a message that has room in the window; `failure` is the outcome of a first attempt. */
export function newPublication(
  route: Route,
  message: Message,
  deadline: Deadline,
  failure: Failure | undefined,
): Publication {
  const { messageId = crypto.randomUUID() } = message;
  return {
    route,
    // A returned message is recognised by its id.
    message: message.messageId === messageId
      ? message
      : { ...message, messageId },
    deadline,
    sent: failure !== undefined,
    refused: failure === undefined || failure === "nack",
    pending: undefined,
    hasRoom: true,
    suspect: false,
  };
}

const isOver = ({ at }: Deadline) => performance.now() >= at;

/** True if the deadline of a message has passed, and the broker has refused it until then. */
export const isRejected = (
  { sent, refused, pending, deadline }: Publication,
): boolean => sent && refused && !pending && isOver(deadline);

/**
 * Waits for the back-off before the next attempt, and decides which channel it uses.
 *
 * @throws {NoRouteError} no queue takes the message.
 * @throws {RejectedError} the broker closes channels because of the message, or has refused it until its deadline.
 */
export async function prepareRetry(
  publication: Publication,
  outcome: Failure,
  retry: number,
  sizes: MessageSizes,
): Promise<void> {
  const { route, message, deadline, suspect } = publication;
  if (outcome === "returned") throw unroutableError(route);
  if (outcome === "nack") {
    await delay(backoff(retry, ...REFUSED_PAUSES_MS), deadline);
    if (isRejected(publication)) throw rejectedError(route);
    return;
  }
  publication.refused = false;
  if (sizes.learn(outcome)) {
    const refusal = sizes.refusal(route, message);
    if (refusal) throw refusal;
    publication.suspect = false; // another message on the channel was too large
    return;
  }
  const fatal = isFatal(outcome.replyCode);
  if (suspect && fatal) throw rejectedError(route, outcome);
  await delay(retry === 0 ? 0 : backoff(retry), deadline);
  publication.suspect = fatal;
}

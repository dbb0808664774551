/** Republishes messages to other queues. A message is acknowledged only after the broker has its copy. @module */
import { loggableError } from "../../redaction.ts";
import { InvalidValueError, NoRouteError } from "../../errors.ts";
import { logger } from "../../logging.ts";
import { delay } from "../../async/deadline.ts";
import {
  type Address,
  direct,
  type QueueAddress,
  queueName,
} from "../../transport/address.ts";
import { isContentError } from "../../transport/content_errors.ts";
import { isNearDeliveryLimit } from "../../transport/delivery_limit.ts";
import type { Delivery, Message, Session } from "../../transport/transport.ts";
import {
  forwardedHeaders,
  interruptionsOf,
  isShortString,
  propertyHeaders,
  redeliveryHeaders,
} from "../../wire/mod.ts";

/** Milliseconds for the broker to confirm a copy. */
const CONFIRM_TIMEOUT_MS = 30_000;
/** Bytes of a copy for which this time is extended by one millisecond. */
const MIN_BYTES_PER_MS = 1_024;
/**
 * Milliseconds before a message that could not be copied is requeued. The pause doubles with each such message, until a
 * copy succeeds.
 */
const REQUEUE_DELAY_MS = 1_000;
const MAX_REQUEUE_DELAY_MS = 60_000;
/** Maximum bytes of the original properties in a dead letter, so that its headers fit into one frame. */
const MAX_PROPERTIES_BYTES = 64 * 1024;
/**
 * Copies a message for a new attempt, with headers that describe the attempt. Properties that describe the call or the
 * earlier attempt are dropped, and so are properties that a broker has added; all others are copied.
 */
export function newAttempt(
  message: Message,
  added: Readonly<Record<string, string>>,
): Message {
  const { correlationId: _c, replyTo: _r, expiration: _e, ...rest } = message;
  const { encodedProperties: _p, unreadable: _u, headers, messageId, ...kept } =
    rest;
  return {
    ...kept,
    headers: { ...forwardedHeaders(headers), ...added },
    messageId: short(messageId),
    persistent: true,
    mandatory: true,
  };
}

/** Copies a request within the same attempt; `interruptions` is given if a worker did not finish the request. */
export function sameAttempt(
  message: Message,
  interruptions: number = interruptionsOf(message.headers),
): Message {
  const { encodedProperties: _p, unreadable: _u, oversized: _o, ...kept } =
    message;
  return {
    ...kept,
    headers: redeliveryHeaders(message.headers, interruptions),
    messageId: short(message.messageId),
    correlationId: short(message.correlationId),
    replyTo: short(message.replyTo),
    persistent: true,
    mandatory: true,
  };
}

/** Drops a property that is too long for AMQP. */
function short(text: string | undefined): string | undefined {
  return text !== undefined && isShortString(text) ? text : undefined;
}

/**
 * Returns the variants of a dead letter, in the order in which they are tried: a copy, unless its headers could not be
 * decoded; a new message that contains the original properties as bytes; a new message without them.
 */
function deadLetterVariants(
  message: Message,
  added: Readonly<Record<string, string>>,
): readonly Message[] {
  const { body, encodedProperties, oversized } = message;
  const sent = { persistent: true, mandatory: true, oversized };
  const bare = { body, headers: added, ...sent };
  const raw = encodedProperties?.subarray(0, MAX_PROPERTIES_BYTES);
  const copy = newAttempt(message, added);
  if (!raw) return [copy, bare];
  const headers = { ...added, ...propertyHeaders(raw) };
  const variants = [{ ...bare, headers }, bare];
  return message.unreadable === undefined ? [copy, ...variants] : variants;
}

/** Republishes the messages of one server. */
export class Republisher {
  readonly #session: Session;
  /** Queues that were declared, by name. */
  readonly #declared = new Set<string>();
  /** Milliseconds of the next pause. */
  #requeueDelay = REQUEUE_DELAY_MS;

  /** Copies are published on `session`. */
  constructor(session: Session) {
    this.#session = session;
  }

  /**
   * Publishes a copy; resolves when the broker has confirmed it. The broker has `timeoutMs` milliseconds for that, and more
   * for a large body.
   *
   * @throws {RpcError} the broker does not accept the copy: see `Session.declare` and `Session.publish`.
   */
  async send(
    address: Address,
    copy: Message,
    timeoutMs: number = CONFIRM_TIMEOUT_MS,
  ): Promise<void> {
    const timeout = timeoutMs + copy.body.length / MIN_BYTES_PER_MS;
    const deadline = { at: performance.now() + timeout };
    const name = queueName(address);
    for (;;) {
      const known = this.#declared.has(name);
      if (!known) {
        await this.#session.declare(address, deadline);
        await this.#session.waitForNewQueues(deadline); // the original is deleted next
      }
      this.#declared.add(name);
      try {
        await this.#session.publish(address, copy, deadline);
        // A requeued message proves nothing, because its next attempt may fail in the same way.
        const moved = address.kind === "delay" || address.kind === "deadLetter";
        if (moved) this.#requeueDelay = REQUEUE_DELAY_MS;
        return;
      } catch (error) {
        if (!known || !(error instanceof NoRouteError)) throw error;
        this.#declared.delete(name); // the queue was deleted
      }
    }
  }

  /**
   * Replaces a message that the broker might drop after more deliveries by a copy at the end of its queue. Resolves to false
   * if the message is not one of these or the broker does not confirm the copy: the message is still unacknowledged then.
   */
  async replace(delivery: Delivery, queue: QueueAddress): Promise<boolean> {
    const { body, oversized } = delivery.message;
    const isWhole = oversized === undefined || oversized === body.length;
    if (!isNearDeliveryLimit(delivery) || !isWhole) return false;
    const name = queueName(queue);
    try {
      const copy = { ...sameAttempt(delivery.message), oversized };
      await this.send(direct(name), copy);
    } catch (error) {
      logger("rpc").warn(
        "A message of {queue} cannot be replaced before its delivery limit: {error}",
        { queue: name, error },
        name,
      );
      return false;
    }
    delivery.ack();
    return true;
  }

  /**
   * Dead-letters a message. If the broker rejects the copy because of its content, a new message with the same body is
   * published. False if the broker rejects the body itself, so that no queue can store the message.
   *
   * @throws {RpcError} the broker does not accept the message for any other reason.
   */
  async deadLetter(
    queue: QueueAddress,
    message: Message,
    added: Readonly<Record<string, string>>,
  ): Promise<boolean> {
    let refusal: unknown;
    for (const letter of deadLetterVariants(message, added)) {
      try {
        await this.send({ kind: "deadLetter", of: queue }, letter);
        return true;
      } catch (error) {
        if (!isContentError(error)) throw error;
        refusal = error;
      }
    }
    // The last variant contains only the body of the original, which every client can send.
    if (refusal instanceof InvalidValueError) throw refusal;
    logger("rpc").error(
      "Dropped a message of {bytes} bytes from {queue}: the broker refuses its body even as a new message: {error}",
      {
        bytes: message.body.length,
        queue: queueName(queue),
        error: loggableError(refusal),
      },
    );
    return false;
  }

  /**
   * Pauses before a message that could not be copied is requeued, because the next attempt will probably fail as well.
   * The signal ends the pause.
   */
  async backOff(signal: AbortSignal): Promise<void> {
    const ms = this.#requeueDelay;
    this.#requeueDelay = Math.min(2 * ms, MAX_REQUEUE_DELAY_MS);
    await delay(ms, { at: Infinity, signal }).catch(() => {});
  }
}

/** Copies of messages in queues beside those that are consumed: nothing is acknowledged before the broker has its copy. @module */
import { loggableError } from "../../redaction.ts";
import {
  InvalidValueError,
  NoRouteError,
  RejectedError,
} from "../../errors.ts";
import { logger } from "../../logging.ts";
import { delay } from "../../async/deadline.ts";
import {
  type Address,
  type QueueAddress,
  queueName,
} from "../../transport/address.ts";
import type { Message, Session } from "../../transport/transport.ts";
import {
  forwardedHeaders,
  interruptionsOf,
  isShortString,
  propertyHeaders,
  redeliveryHeaders,
} from "../../wire/codec.ts";

/** Milliseconds that the broker may take for a copy. */
const PATIENCE = 30_000;
/** Bytes of it in a millisecond at least, beyond that. */
const RATE = 1_024;
/** Milliseconds before a message that could not be copied goes back into its queue: twice as long each time, to the most. */
const RETRY = 1_000;
const LONGEST_RETRY = 60_000;
/** Bytes of foreign properties that a dead letter holds at most, so that they fit into one frame beside its headers. */
const PROPERTIES = 64 * 1024;
/** As it came, but for what is said of it now. What a broker has put there is its own. */
export function newAttempt(
  { body, headers, messageId, oversized }: Message,
  more: Readonly<Record<string, string>>,
): Message {
  return {
    body,
    headers: { ...forwardedHeaders(headers), ...more },
    messageId: short(messageId),
    persistent: true,
    mandatory: true,
    oversized,
  };
}

/** A request in the same attempt still; `times` says how often a worker did not finish it, if that has changed. */
export function sameAttempt(
  message: Message,
  times: number = interruptionsOf(message.headers),
): Message {
  const { body, messageId, correlationId, replyTo, expiration } = message;
  return {
    body,
    headers: redeliveryHeaders(message.headers, times),
    messageId: short(messageId),
    correlationId: short(correlationId),
    replyTo: short(replyTo),
    expiration,
    persistent: true,
    mandatory: true,
  };
}

/** A property that AMQP cannot carry any more is left out. */
function short(text: string | undefined): string | undefined {
  return text !== undefined && isShortString(text) ? text : undefined;
}

/**
 * A dead letter in three forms: a copy, unless its headers could not be read; a new message that holds the properties as
 * bytes; a new message without them.
 */
function lettersOf(
  message: Message,
  said: Readonly<Record<string, string>>,
): readonly Message[] {
  const { body, properties, oversized } = message;
  const sent = { persistent: true, mandatory: true, oversized };
  const bare = { body, headers: said, ...sent };
  const raw = properties?.subarray(0, PROPERTIES);
  const copy = newAttempt(message, said);
  if (!raw) return [copy, bare];
  const headers = { ...said, ...propertyHeaders(raw) };
  const forms = [{ ...bare, headers }, bare];
  return message.unreadable === undefined ? [copy, ...forms] : forms;
}

/** True if a message was refused for what it holds: AMQP cannot carry it, or the broker does not take it. */
export function isContent(error: unknown): boolean {
  return error instanceof InvalidValueError ||
    (error instanceof RejectedError && error.data.reason === "content");
}

/** Makes the copies of one context. */
export class Republisher {
  readonly #session: Session;
  /** Queues that were made. */
  readonly #made = new Set<string>();
  /** How long the next message waits that cannot be copied. */
  #retry = RETRY;

  /** On a transport. */
  constructor(session: Session) {
    this.#session = session;
  }

  /**
   * Resolves when the broker has it.
   *
   * @throws {RpcError} it does not: see `Session.declare` and `Session.publish`.
   */
  async send(address: Address, copy: Message): Promise<void> {
    const patience = PATIENCE + copy.body.length / RATE;
    const wait = { at: performance.now() + patience };
    const name = queueName(address);
    for (;;) {
      const known = this.#made.has(name);
      if (!known) await this.#session.declare(address, wait);
      this.#made.add(name);
      try {
        await this.#session.publish(address, copy, wait);
        this.#retry = RETRY;
        return;
      } catch (error) {
        if (!known || !(error instanceof NoRouteError)) throw error;
        this.#made.delete(name); // somebody removed the queue
      }
    }
  }

  /**
   * Keeps a message as a dead letter. Where the broker refuses its copy for its content, a new message has its body. False
   * where the broker refuses that body itself: such a message cannot be kept anywhere.
   *
   * @throws {RpcError} the broker does not take it for any other reason.
   */
  async deadLetter(
    queue: QueueAddress,
    message: Message,
    said: Readonly<Record<string, string>>,
  ): Promise<boolean> {
    let refusal: unknown;
    for (const letter of lettersOf(message, said)) {
      try {
        await this.send({ kind: "deadLetter", of: queue }, letter);
        return true;
      } catch (error) {
        if (!isContent(error)) throw error;
        refusal = error;
      }
    }
    // The last form holds nothing foreign but the body, which every client can send.
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

  /** The pause of a message that could not be copied: whatever is wrong with it will be so again. Ends with the signal. */
  async backOff(signal: AbortSignal): Promise<void> {
    const ms = this.#retry;
    this.#retry = Math.min(2 * ms, LONGEST_RETRY);
    await delay(ms, { at: Infinity, signal }).catch(() => {});
  }
}

/** Content of AMQP for messages. No other module sets its properties. @module */
import type { Content } from "../../../amqp/mod.ts";
import { InvalidValueError } from "../../../errors.ts";
import type { Message } from "../../transport.ts";

/**
 * Maximum expiration that RabbitMQ accepts, in milliseconds (about 49 days); a message with a longer one is sent without
 * an expiration.
 */
const MAX_EXPIRATION_MS = 2 ** 32 - 1;

/**
 * Checks the types of header values; AMQP has no encoding for others.
 *
 * @throws {InvalidValueError} a value has another type.
 */
export function checkHeaders(headers: Message["headers"]): void {
  for (const name of Object.keys(headers)) {
    const value = headers[name];
    const fits = value === null ||
      ["string", "boolean"].includes(typeof value) ||
      Number.isFinite(value) || value instanceof Uint8Array;
    if (!fits) {
      throw new InvalidValueError(
        `Header "${name}" is ${
          value instanceof Object
            ? `a ${value.constructor.name}`
            : `a ${typeof value}`
        }; give a string, a finite number, a boolean, bytes or null`,
        { data: { path: `headers.${name}` } },
      );
    }
  }
}

/** Returns the content of a message. Every peer expects the content type JSON (oslo.messaging reads nothing else). */
export function contentOf(message: Message): Content {
  const { body, headers, persistent, correlationId, replyTo, messageId } =
    message;
  return {
    body,
    contentType: "application/json",
    contentEncoding: "utf-8",
    headers,
    persistent: persistent === true,
    correlationId,
    replyTo,
    expiration: expirationOf(message),
    messageId,
  };
}

/** Returns the expiration in whole milliseconds of 32 bits; 0 would expire the message at once. */
function expirationOf({ expiration }: Message): number | undefined {
  return expiration !== undefined && expiration <= MAX_EXPIRATION_MS
    ? Math.max(1, Math.ceil(expiration))
    : undefined;
}

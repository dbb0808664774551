/** Conversion of properties and headers between amqplib and messages. @module */
import type { Message as AmqpMessage } from "npm:amqplib@2.3.1";
import { InvalidValueError } from "../../../errors.ts";
import type { Message } from "../../transport.ts";

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

/** Unwraps values for which JavaScript has no type: amqplib returns `{ "!": "timestamp", value }`. */
function unwrapped(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unwrapped);
  if (
    typeof value !== "object" || value === null || value instanceof Uint8Array
  ) return value;
  return "!" in value && "value" in value
    ? unwrapped(value.value)
    : headersOf(value);
}

/** Unwraps all values of a table. A field may be named "__proto__". */
function headersOf(table: object): Record<string, unknown> {
  const entries = Object.entries(table);
  return Object.fromEntries(
    entries.map(([name, value]) => [name, unwrapped(value)]),
  );
}

const text = (value: unknown) => typeof value === "string" ? value : undefined;

/** Converts a message of amqplib. */
export function fromAmqp({ content, properties }: AmqpMessage): Message {
  return {
    body: content,
    headers: headersOf(properties.headers ?? {}),
    messageId: text(properties.messageId),
    correlationId: text(properties.correlationId),
    replyTo: text(properties.replyTo),
    expiration: properties.expiration === undefined
      ? undefined
      : Number(properties.expiration),
    persistent: properties.deliveryMode === 2,
  };
}

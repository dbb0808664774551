/** AMQP properties and headers to and from a message. @module */
import type { Message as AmqpMessage } from "npm:amqplib@2.3.1";
import { InvalidValueError } from "../../../errors.ts";
import type { Message } from "../../transport.ts";

/** Header values of these kinds survive amqplib as they are; it would silently change others, or throw. */
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

/** amqplib wraps what JavaScript has no type for: `{ "!": "timestamp", value }`. The value alone is of use. */
function unwrapped(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unwrapped);
  if (
    typeof value !== "object" || value === null || value instanceof Uint8Array
  ) return value;
  return "!" in value && "value" in value
    ? unwrapped(value.value)
    : headersOf(value);
}

/** A header may be named "__proto__"; that is a field as any other. */
function headersOf(table: object): Record<string, unknown> {
  const entries = Object.entries(table);
  return Object.fromEntries(
    entries.map(([name, value]) => [name, unwrapped(value)]),
  );
}

const text = (value: unknown) => typeof value === "string" ? value : undefined;

/** What came, in our words. */
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

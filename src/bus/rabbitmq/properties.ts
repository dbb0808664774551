/** AMQP properties and headers to and from a message. @module */
import { Buffer } from "node:buffer";
import type { Message as AmqpMessage, Options } from "npm:amqplib@^2.3.1";
import { InvalidValueError } from "../../errors.ts";
import type { Message } from "../transport.ts";

/** Header values of these kinds survive amqplib as they are; it would silently change others, or throw. */
function checkHeaders(headers: Message["headers"]): void {
  for (const name of Object.keys(headers)) {
    const value = headers[name];
    const fits = value === null ||
      ["string", "boolean"].includes(typeof value) || Number.isFinite(value);
    if (!fits) {
      throw new InvalidValueError(
        `Header "${name}" is ${
          value instanceof Object
            ? `a ${value.constructor.name}`
            : `a ${typeof value}`
        }; give a string, a finite number, a boolean or null`,
        { data: { path: `headers.${name}` } },
      );
    }
  }
}

/** The longest expiration that the broker takes, about 49 days in milliseconds; what may wait longer has none. */
const LONGEST = 2 ** 32 - 1;

/** The same bytes, as amqplib wants them. */
export function bufferOf(body: Uint8Array): Buffer {
  if (Buffer.isBuffer(body)) return body;
  const { buffer, byteOffset, byteLength } = body;
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** Options of amqplib's publish. Always JSON, as every peer expects (oslo.messaging reads nothing else). */
export function toAmqp(message: Message): Options.Publish {
  checkHeaders(message.headers);
  const options: Options.Publish = {
    contentType: "application/json",
    contentEncoding: "utf-8",
    headers: message.headers,
    persistent: message.persistent ?? false,
    mandatory: message.mandatory ?? false,
  };
  if (message.id !== undefined) options.messageId = message.id;
  if (message.correlationId !== undefined) {
    options.correlationId = message.correlationId;
  }
  if (message.replyTo !== undefined) options.replyTo = message.replyTo;
  // The broker takes whole milliseconds in 32 bits, and 0 would drop it at once.
  if (message.expiration !== undefined && message.expiration <= LONGEST) {
    options.expiration = String(Math.max(1, Math.ceil(message.expiration)));
  }
  return options;
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

function headersOf(table: object): Record<string, unknown> {
  const headers: Record<string, unknown> = Object.create(null); // a header may be named "__proto__"
  for (const name of Object.keys(table)) {
    headers[name] = unwrapped((table as Record<string, unknown>)[name]);
  }
  return headers;
}

const text = (value: unknown) => typeof value === "string" ? value : undefined;

/** What came, in our words. */
export function fromAmqp({ content, properties }: AmqpMessage): Message {
  return {
    body: content,
    headers: headersOf(properties.headers ?? {}),
    id: text(properties.messageId),
    correlationId: text(properties.correlationId),
    replyTo: text(properties.replyTo),
    expiration: properties.expiration === undefined
      ? undefined
      : Number(properties.expiration),
    persistent: properties.deliveryMode === 2,
  };
}

/**
 * Heads of stored messages: a message without its body, as a text.
 *
 * The head of nearly every reply is the position of its headers in a table, the length of its message id, and both ids:
 * `1 32 …`. Any other message is stored as JSON.
 *
 * @module
 */
import type { Message } from "../../transport/transport.ts";

/** Headers of a message. */
type Headers = Message["headers"];

/** Maximum number of objects in a table. Nearly all replies have one of two. */
const MAX_OBJECTS = 16;
const EMPTY: Headers = Object.freeze({});

/** Distinct frozen objects of headers, by position. Most replies share one of few. */
export class HeadersTable {
  readonly #objects: Headers[] = [EMPTY];

  /** Returns the position of headers; undefined if they are an object that is not stored here. */
  positionOf(headers: Headers): number | undefined {
    const position = this.#objects.indexOf(headers);
    if (position >= 0) return position;
    if (Object.keys(headers).length === 0) return 0;
    if (!Object.isFrozen(headers)) return undefined;
    return this.#objects.length < MAX_OBJECTS
      ? this.#objects.push(headers) - 1
      : undefined;
  }

  /** Returns the headers at a position. */
  at(position: number): Headers {
    return this.#objects[position] ?? EMPTY;
  }
}

/** Serializes a message without its body. */
export function serializeHead(message: Message, table: HeadersTable): string {
  if (!isUsual(message)) return asJson(message);
  const { headers, messageId, correlationId } = message;
  const position = table.positionOf(headers);
  if (position === undefined) return asJson(message);
  return `${position} ${messageId.length} ${messageId}${correlationId}`;
}

/** Parses a text that `serializeHead` returned with the same table. */
export function parseHead(
  head: string,
  table: HeadersTable,
): Omit<Message, "body"> {
  const usual = /^(\d+) (\d+) /.exec(head);
  if (!usual) return parseJson(head);
  const [prefix, position, length] = usual;
  const ids = head.slice(prefix.length);
  return {
    headers: table.at(Number(position)),
    messageId: ids.slice(0, Number(length)),
    correlationId: ids.slice(Number(length)),
    mandatory: true,
  };
}

/** Message with the fields of a reply that `ReplyPublisher.message` has encoded, and with no other field. */
type UsualMessage = Message & { messageId: string; correlationId: string };

function isUsual(message: Message): message is UsualMessage {
  const { messageId, correlationId, mandatory } = message;
  return mandatory === true && messageId?.isWellFormed() === true &&
    correlationId?.isWellFormed() === true && message.replyTo === undefined &&
    message.expiration === undefined && message.persistent === undefined &&
    message.encodedProperties === undefined &&
    message.unreadable === undefined && message.oversized === undefined;
}

function asJson({ body: _, encodedProperties, ...rest }: Message): string {
  const properties = encodedProperties && [...encodedProperties];
  return JSON.stringify({ ...rest, encodedProperties: properties });
}

function parseJson(head: string): Omit<Message, "body"> {
  const { encodedProperties, ...rest } = JSON.parse(head);
  return encodedProperties
    ? { ...rest, encodedProperties: new Uint8Array(encodedProperties) }
    : rest;
}

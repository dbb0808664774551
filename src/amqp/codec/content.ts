/** Content of messages: body and properties, of which one table says how each is read and written. @module */
import { BASIC } from "./protocol.ts";
import type { FieldReader } from "./field_reader.ts";
import { checkInteger, type Table } from "./field_value.ts";
import type { FieldWriter } from "./field_writer.ts";

/**
 * Properties of a message, by their names in AMQP 0-9-1.
 * @category AMQP
 */
export interface Properties {
  /** MIME type of the body. */
  readonly contentType?: string | undefined;
  /** MIME encoding of the body. */
  readonly contentEncoding?: string | undefined;
  /** Headers of the application. */
  readonly headers?: Table | undefined;
  /** True if a durable queue writes the message to disk (`delivery-mode` 2); default false. */
  readonly persistent?: boolean | undefined;
  /** Priority, 0 to 255. */
  readonly priority?: number | undefined;
  /** Id of the request that a reply belongs to. */
  readonly correlationId?: string | undefined;
  /** Queue to which the receiver replies. */
  readonly replyTo?: string | undefined;
  /** Milliseconds that the message may wait in a queue: a whole number up to 2^32 - 1; default: no limit. */
  readonly expiration?: number | undefined;
  /** Id of the message. */
  readonly messageId?: string | undefined;
  /** Time at which the message was sent, in seconds since 1970. */
  readonly timestamp?: number | undefined;
  /** Kind of the message. */
  readonly type?: string | undefined;
  /** User name of the sender; RabbitMQ rejects a message with another user's name. */
  readonly userId?: string | undefined;
  /** Program of the sender. */
  readonly appId?: string | undefined;
  /** Reserved by AMQP; was an id of the cluster. */
  readonly clusterId?: string | undefined;
}

/**
 * A message: properties and body.
 * @category AMQP
 */
export interface Content extends Properties {
  /** Body. */
  readonly body: Uint8Array;
}

/** Properties of a message that is being decoded. */
export type MutableProperties = {
  -readonly [K in keyof Properties]: Properties[K];
};

/**
 * One property: its flag, and how it is read and written. Each names its member itself, since V8 needs several times as long
 * for a member whose name is in a variable.
 */
interface Property {
  readonly flag: number;
  has(content: Content): boolean;
  read(fields: FieldReader, to: MutableProperties): void;
  write(fields: FieldWriter, content: Content): void;
}

/** All properties, in the order of their flags and values. Texts that repeat from message to message are cached. */
const PROPERTIES: readonly Property[] = [
  {
    flag: 1 << 15,
    has: ({ contentType }) => contentType !== undefined,
    read: (fields, to) => to.contentType = fields.name(),
    write: (fields, { contentType = "" }) =>
      fields.short(contentType, "contentType"),
  },
  {
    flag: 1 << 14,
    has: ({ contentEncoding }) => contentEncoding !== undefined,
    read: (fields, to) => to.contentEncoding = fields.name(),
    write: (fields, { contentEncoding = "" }) =>
      fields.short(contentEncoding, "contentEncoding"),
  },
  {
    flag: 1 << 13,
    has: ({ headers }) => headers !== undefined,
    read: (fields, to) => to.headers = fields.table(),
    write: (fields, { headers = {} }) => fields.table(headers),
  },
  {
    flag: 1 << 12,
    has: ({ persistent }) => persistent !== undefined,
    read: (fields, to) => to.persistent = fields.u8() === 2,
    write: (fields, { persistent }) => fields.u8(persistent ? 2 : 1),
  },
  {
    flag: 1 << 11,
    has: ({ priority }) => priority !== undefined,
    read: (fields, to) => to.priority = fields.u8(),
    write: (fields, { priority = 0 }) => {
      checkInteger(priority, [0, 0xff], "priority");
      fields.u8(priority);
    },
  },
  {
    flag: 1 << 10,
    has: ({ correlationId }) => correlationId !== undefined,
    read: (fields, to) => to.correlationId = fields.short(),
    write: (fields, { correlationId = "" }) =>
      fields.short(correlationId, "correlationId"),
  },
  {
    flag: 1 << 9,
    has: ({ replyTo }) => replyTo !== undefined,
    read: (fields, to) => to.replyTo = fields.name(),
    write: (fields, { replyTo = "" }) => fields.short(replyTo, "replyTo"),
  },
  {
    flag: 1 << 8,
    has: ({ expiration }) => expiration !== undefined,
    read: (fields, to) => to.expiration = Number(fields.name()),
    write: (fields, { expiration = 0 }) => {
      checkInteger(expiration, [0, 0xffff_ffff], "expiration");
      fields.short(String(expiration), "expiration");
    },
  },
  {
    flag: 1 << 7,
    has: ({ messageId }) => messageId !== undefined,
    read: (fields, to) => to.messageId = fields.short(),
    write: (fields, { messageId = "" }) => fields.short(messageId, "messageId"),
  },
  {
    flag: 1 << 6,
    has: ({ timestamp }) => timestamp !== undefined,
    read: (fields, to) => to.timestamp = fields.u64(),
    write: (fields, { timestamp = 0 }) => {
      checkInteger(timestamp, [0, Number.MAX_SAFE_INTEGER], "timestamp");
      fields.u64(timestamp);
    },
  },
  {
    flag: 1 << 5,
    has: ({ type }) => type !== undefined,
    read: (fields, to) => to.type = fields.name(),
    write: (fields, { type = "" }) => fields.short(type, "type"),
  },
  {
    flag: 1 << 4,
    has: ({ userId }) => userId !== undefined,
    read: (fields, to) => to.userId = fields.name(),
    write: (fields, { userId = "" }) => fields.short(userId, "userId"),
  },
  {
    flag: 1 << 3,
    has: ({ appId }) => appId !== undefined,
    read: (fields, to) => to.appId = fields.name(),
    write: (fields, { appId = "" }) => fields.short(appId, "appId"),
  },
  {
    flag: 1 << 2,
    has: ({ clusterId }) => clusterId !== undefined,
    read: (fields, to) => to.clusterId = fields.name(),
    write: (fields, { clusterId = "" }) => fields.short(clusterId, "clusterId"),
  },
];

const HEADERS = 1 << 13;

/** Flag that more flags follow, which no property of AMQP 0-9-1 needs. */
const MORE_FLAGS = 1;

/**
 * Encodes the payload of a header frame.
 *
 * @throws {TypeError} a property cannot be encoded.
 */
export function encodeHeader(fields: FieldWriter, content: Content): void {
  fields.ensure(64);
  fields.u16(BASIC);
  fields.u16(0);
  fields.u64(content.body.length);
  let flags = 0;
  for (const property of PROPERTIES) {
    if (property.has(content)) flags |= property.flag;
  }
  fields.u16(flags);
  for (const property of PROPERTIES) {
    if ((flags & property.flag) === 0) continue;
    fields.ensure(8);
    property.write(fields, content);
  }
}

/**
 * Decodes properties into `target`. Returns what could not be decoded and why, without quoting it; undefined if everything
 * was decoded.
 */
export function decodeProperties(
  fields: FieldReader,
  target: MutableProperties,
): string | undefined {
  let unreadable: string | undefined;
  try {
    const flags = fields.u16();
    if (flags & MORE_FLAGS) throw new TypeError("there are more than 14");
    for (const property of PROPERTIES) {
      if ((flags & property.flag) === 0) continue;
      try {
        property.read(fields, target);
      } catch (error) {
        if (property.flag !== HEADERS) throw error;
        unreadable = `its table of headers: ${(error as Error).message}`; // what follows the table can still be read
      }
    }
  } catch (error) {
    return unreadable ?? `its properties: ${(error as Error).message}`;
  }
  return unreadable;
}

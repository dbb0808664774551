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

/** One property: its flag, and how it is read and written. */
interface Property {
  readonly flag: number;
  readonly name: keyof Properties;
  read(fields: FieldReader): unknown;
  write(fields: FieldWriter, value: never): void;
}

function text(
  bit: number,
  name: keyof Properties,
  repeats: boolean,
): Property {
  return {
    flag: 1 << bit,
    name,
    read: (fields) => repeats ? fields.name() : fields.short(),
    write: (fields, value: string) => fields.short(value, name),
  };
}

/** All properties, in the order of their flags and values. Texts that repeat from message to message are cached. */
const PROPERTIES: readonly Property[] = [
  text(15, "contentType", true),
  text(14, "contentEncoding", true),
  {
    flag: 1 << 13,
    name: "headers",
    read: (fields) => fields.table(),
    write: (fields, value: Table) => fields.table(value),
  },
  {
    flag: 1 << 12,
    name: "persistent",
    read: (fields) => fields.u8() === 2,
    write: (fields, value: boolean) => fields.u8(value ? 2 : 1),
  },
  {
    flag: 1 << 11,
    name: "priority",
    read: (fields) => fields.u8(),
    write: (fields, value: number) => {
      checkInteger(value, [0, 0xff], "priority");
      fields.u8(value);
    },
  },
  text(10, "correlationId", false),
  text(9, "replyTo", true),
  {
    flag: 1 << 8,
    name: "expiration",
    read: (fields) => Number(fields.name()),
    write: (fields, value: number) => {
      checkInteger(value, [0, 0xffff_ffff], "expiration");
      fields.short(String(value), "expiration");
    },
  },
  text(7, "messageId", false),
  {
    flag: 1 << 6,
    name: "timestamp",
    read: (fields) => fields.u64(),
    write: (fields, value: number) => {
      checkInteger(value, [0, Number.MAX_SAFE_INTEGER], "timestamp");
      fields.u64(value);
    },
  },
  text(5, "type", true),
  text(4, "userId", true),
  text(3, "appId", true),
  text(2, "clusterId", true),
];

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
  for (const { flag, name } of PROPERTIES) {
    if (content[name] !== undefined) flags |= flag;
  }
  fields.u16(flags);
  for (const { name, write } of PROPERTIES) {
    const value = content[name];
    if (value === undefined) continue;
    fields.ensure(8);
    write(fields, value as never);
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
    for (const { flag, name, read } of PROPERTIES) {
      if ((flags & flag) === 0) continue;
      try {
        target[name] = read(fields) as undefined;
      } catch (error) {
        if (name !== "headers") throw error;
        unreadable = `its table of headers: ${(error as Error).message}`; // what follows the table can still be read
      }
    }
  } catch (error) {
    return unreadable ?? `its properties: ${(error as Error).message}`;
  }
  return unreadable;
}

/** Frames of AMQP 0-9-1 as they are sent: `basic.publish` with its message, `basic.ack` and `basic.reject`. @module */
import { Buffer } from "node:buffer";
import type { Message } from "../../transport.ts";
import {
  ACK,
  BASIC,
  BODY,
  CONTENT_ENCODING,
  CONTENT_TYPE,
  CORRELATION_ID,
  DELIVERY_MODE,
  END,
  EXPIRATION,
  HEADER,
  HEADERS,
  MESSAGE_ID,
  METHOD,
  OVERHEAD,
  PUBLISH,
  REJECT,
  REPLY_TO,
} from "./protocol.ts";

/** The longest expiration that the broker takes, about 49 days in milliseconds; what may wait longer has none. */
const LONGEST = 2 ** 32 - 1;
/** Bytes that a slab of frames has, or more, where a message needs it. */
const SLAB = 256 * 1024;

const utf8 = new TextEncoder();

/** Where a message goes. */
export interface Address {
  /** Number of the channel. */
  readonly channel: number;
  /** Name of the exchange; empty for the default one. */
  readonly exchange: string;
  /** Routing key. */
  readonly key: string;
}

/** Writes frames one after the other, until they are taken. */
export class FrameWriter {
  readonly #bodyMost: number;
  #slab: Buffer = Buffer.alloc(SLAB);
  #start = 0;
  #at = 0;

  /** `frameMax`: bytes of a frame at most, as agreed with the broker. */
  constructor(frameMax: number) {
    this.#bodyMost = (frameMax || SLAB) - OVERHEAD;
  }

  /** Bytes that were not taken yet. */
  get length(): number {
    return this.#at - this.#start;
  }

  /** What has been written since it was taken last. */
  take(): Buffer {
    const taken = this.#slab.subarray(this.#start, this.#at);
    this.#start = this.#at;
    return taken;
  }

  /** Acknowledges a delivery, or all up to it. */
  ack(channel: number, tag: number, multiple: boolean): void {
    this.#settle(channel, ACK, tag, multiple);
  }

  /** Refuses a delivery. */
  reject(channel: number, tag: number, requeue: boolean): void {
    this.#settle(channel, REJECT, tag, requeue);
  }

  #settle(channel: number, method: number, tag: number, flag: boolean): void {
    this.#room(32);
    const end = this.#open(METHOD, channel);
    this.#u16(BASIC);
    this.#u16(method);
    this.#u64(tag);
    this.#u8(flag ? 1 : 0);
    this.#close(end);
  }

  /**
   * A message, copied.
   *
   * @throws {TypeError} AMQP cannot carry a name or a property, which is longer than 255 bytes; nothing is written then.
   */
  publish(to: Address, message: Message): void {
    const { body } = message;
    this.announce(to, message, body.length + this.#extra(body.length));
    for (let from = 0; from < body.length; from += this.#bodyMost) {
      const part = body.length <= this.#bodyMost
        ? body
        : body.subarray(from, from + this.#bodyMost);
      const end = this.#open(BODY, to.channel);
      this.#slab.set(part, this.#at);
      this.#at += part.length;
      this.#close(end);
    }
  }

  /** A message without its body, which must follow on its channel before anything else; `more`: bytes that it will take here. */
  announce(to: Address, message: Message, more = 0): void {
    this.#room(headSize(to, message) + more);
    const before = this.#at;
    try {
      this.#method(to, message.mandatory === true);
      this.#header(to.channel, message);
    } catch (error) {
      this.#at = before;
      throw error;
    }
  }

  /** Of the frames of a body. */
  #extra(length: number): number {
    return OVERHEAD * Math.ceil(length / this.#bodyMost);
  }

  #method({ channel, exchange, key }: Address, mandatory: boolean): void {
    const end = this.#open(METHOD, channel);
    this.#u16(BASIC);
    this.#u16(PUBLISH);
    this.#u16(0);
    this.#short("exchange", exchange);
    this.#short("routing key", key);
    this.#u8(mandatory ? 1 : 0);
    this.#close(end);
  }

  /** Always JSON, as every peer expects (oslo.messaging reads nothing else). */
  #header(channel: number, message: Message): void {
    const { body, headers, correlationId, replyTo, messageId } = message;
    const expiration = expirationOf(message);
    const end = this.#open(HEADER, channel);
    this.#u16(BASIC);
    this.#u16(0);
    this.#u64(body.length);
    this.#u16(
      CONTENT_TYPE | CONTENT_ENCODING | HEADERS | DELIVERY_MODE |
        (correlationId === undefined ? 0 : CORRELATION_ID) |
        (replyTo === undefined ? 0 : REPLY_TO) |
        (expiration === undefined ? 0 : EXPIRATION) |
        (messageId === undefined ? 0 : MESSAGE_ID),
    );
    this.#short("content type", "application/json");
    this.#short("content encoding", "utf-8");
    this.#table(headers);
    this.#u8(message.persistent ? 2 : 1);
    if (correlationId !== undefined) {
      this.#short("correlation id", correlationId);
    }
    if (replyTo !== undefined) this.#short("reply queue", replyTo);
    if (expiration !== undefined) this.#short("expiration", expiration);
    if (messageId !== undefined) this.#short("message id", messageId);
    this.#close(end);
    const bytes = this.#at - end;
    if (bytes <= this.#bodyMost) return;
    throw new TypeError(`its headers have ${bytes} bytes, more than a frame`);
  }

  #table(headers: Message["headers"]): void {
    const start = this.#at;
    this.#at += 4;
    for (const name of Object.keys(headers)) {
      this.#short("name of a header", name);
      this.#value(headers[name]);
    }
    this.#slab.writeUInt32BE(this.#at - start - 4, start);
  }

  /** Whole numbers are of 32 or 64 bits: py-amqp takes those of 16 bits for texts. */
  #value(value: unknown): void {
    if (typeof value === "string") {
      this.#u8(0x53); // S
      const at = this.#at;
      this.#at += 4;
      this.#text(value);
      this.#slab.writeUInt32BE(this.#at - at - 4, at);
    } else if (typeof value === "boolean") {
      this.#u8(0x74); // t
      this.#u8(value ? 1 : 0);
    } else if (value instanceof Uint8Array) {
      this.#u8(0x78); // x
      this.#at = this.#slab.writeUInt32BE(value.length, this.#at);
      this.#slab.set(value, this.#at);
      this.#at += value.length;
    } else if (typeof value !== "number") this.#u8(0x56); // V, for null
    else if (Number.isInteger(value) && Math.abs(value) < 2 ** 31) {
      this.#u8(0x49); // I
      this.#at = this.#slab.writeInt32BE(value, this.#at);
    } else if (Number.isSafeInteger(value)) {
      this.#u8(0x6c); // l
      this.#at = this.#slab.writeBigInt64BE(BigInt(value), this.#at);
    } else {
      this.#u8(0x64); // d
      this.#at = this.#slab.writeDoubleBE(value, this.#at);
    }
  }

  /** Where its length goes. */
  #open(type: number, channel: number): number {
    this.#u8(type);
    this.#u16(channel);
    this.#at += 4;
    return this.#at - 4;
  }

  #close(length: number): void {
    this.#slab.writeUInt32BE(this.#at - length - 4, length);
    this.#u8(END);
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#slab.length) return;
    const waiting = this.#slab.subarray(this.#start, this.#at);
    const slab = Buffer.allocUnsafeSlow(
      Math.max(SLAB, waiting.length + bytes),
    );
    slab.set(waiting);
    this.#slab = slab;
    this.#start = 0;
    this.#at = waiting.length;
  }

  #short(what: string, text: string): void {
    const at = this.#at++;
    this.#text(text);
    const length = this.#at - at - 1;
    if (length > 255) {
      throw new TypeError(`the ${what} has ${length} bytes, more than 255`);
    }
    this.#slab[at] = length;
  }

  /** Most are ASCII. */
  #text(text: string): void {
    const slab = this.#slab;
    let at = this.#at;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > 0x7f) {
        this.#at += utf8.encodeInto(text, slab.subarray(this.#at)).written;
        return;
      }
      slab[at++] = code;
    }
    this.#at = at;
  }

  #u8(value: number): void {
    this.#slab[this.#at++] = value;
  }

  #u16(value: number): void {
    this.#slab[this.#at++] = value >> 8;
    this.#slab[this.#at++] = value;
  }

  #u64(value: number): void {
    const high = Math.floor(value / 2 ** 32);
    this.#at = this.#slab.writeUInt32BE(high, this.#at);
    this.#at = this.#slab.writeUInt32BE(value % 2 ** 32, this.#at);
  }
}

/** The broker takes whole milliseconds in 32 bits, and 0 would drop it at once. */
function expirationOf({ expiration }: Message): string | undefined {
  return expiration !== undefined && expiration <= LONGEST
    ? String(Math.max(1, Math.ceil(expiration)))
    : undefined;
}

/** Bytes of the frames before the body, or more: a character has three at most. */
function headSize({ exchange, key }: Address, message: Message): number {
  const { headers, correlationId = "", replyTo = "", messageId = "" } = message;
  let characters = exchange.length + key.length + correlationId.length +
    replyTo.length + messageId.length;
  let fixed = 128;
  for (const name of Object.keys(headers)) {
    const value = headers[name];
    characters += name.length;
    if (typeof value === "string") characters += value.length;
    fixed += value instanceof Uint8Array ? 16 + value.length : 16;
  }
  return fixed + 3 * characters;
}

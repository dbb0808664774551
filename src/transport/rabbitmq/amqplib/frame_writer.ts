/** Encoder of frames of AMQP 0-9-1: `basic.publish` with its message, `basic.ack` and `basic.reject`. @module */
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
  FRAME_OVERHEAD_BYTES,
  HEADER,
  HEADERS,
  MESSAGE_ID,
  METHOD,
  PUBLISH,
  REJECT,
  REPLY_TO,
} from "./protocol.ts";

/**
 * Maximum expiration that RabbitMQ accepts, in milliseconds (about 49 days); a message with a longer one is sent without
 * an expiration.
 */
const MAX_EXPIRATION_MS = 2 ** 32 - 1;
/** Size of the buffer for frames in bytes; larger where one message needs it. */
const SLAB_BYTES = 256 * 1024;

const utf8 = new TextEncoder();

/** Destination of a message. */
export interface PublishAddress {
  /** Number of the channel. */
  readonly channel: number;
  /** Name of the exchange; empty for the default one. */
  readonly exchange: string;
  /** Routing key. */
  readonly key: string;
}

/** Encodes frames in sequence until they are taken. */
export class FrameWriter {
  readonly #maxBodyBytes: number;
  #slab: Buffer = Buffer.alloc(SLAB_BYTES);
  #start = 0;
  #at = 0;

  /** `frameMax`: maximum number of bytes of a frame, as agreed with the broker; 0 = no limit. */
  constructor(frameMax: number) {
    this.#maxBodyBytes = (frameMax || SLAB_BYTES) - FRAME_OVERHEAD_BYTES;
  }

  /** Number of bytes that were not taken yet. */
  get length(): number {
    return this.#at - this.#start;
  }

  /** Returns the bytes that were encoded since the last call. */
  take(): Buffer {
    const taken = this.#slab.subarray(this.#start, this.#at);
    this.#start = this.#at;
    return taken;
  }

  /** Encodes `basic.ack` of a delivery, or with `multiple` of all deliveries up to it. */
  ack(channel: number, tag: number, multiple: boolean): void {
    this.#settle(channel, ACK, tag, multiple);
  }

  /** Encodes `basic.reject`. */
  reject(channel: number, tag: number, requeue: boolean): void {
    this.#settle(channel, REJECT, tag, requeue);
  }

  #settle(channel: number, method: number, tag: number, flag: boolean): void {
    this.#ensureRoom(32);
    const end = this.#startFrame(METHOD, channel);
    this.#u16(BASIC);
    this.#u16(method);
    this.#u64(tag);
    this.#u8(flag ? 1 : 0);
    this.#endFrame(end);
  }

  /**
   * Encodes a message with its body.
   *
   * @throws {TypeError} a name or a property is longer than 255 bytes; nothing is encoded then.
   */
  publish(to: PublishAddress, message: Message): void {
    const { body } = message;
    this.announce(to, message, body.length + this.#extra(body.length));
    for (let from = 0; from < body.length; from += this.#maxBodyBytes) {
      const part = body.length <= this.#maxBodyBytes
        ? body
        : body.subarray(from, from + this.#maxBodyBytes);
      const end = this.#startFrame(BODY, to.channel);
      this.#slab.set(part, this.#at);
      this.#at += part.length;
      this.#endFrame(end);
    }
  }

  /**
   * Encodes a message without its body, which must follow on the channel before any other frame. `bodyBytes`: bytes of
   * the body frames that will follow in this buffer.
   */
  announce(to: PublishAddress, message: Message, bodyBytes = 0): void {
    this.#ensureRoom(headSize(to, message) + bodyBytes);
    const before = this.#at;
    try {
      this.#method(to, message.mandatory === true);
      this.#header(to.channel, message);
    } catch (error) {
      this.#at = before;
      throw error;
    }
  }

  /** Returns the number of bytes that frames add to a body. */
  #extra(length: number): number {
    return FRAME_OVERHEAD_BYTES * Math.ceil(length / this.#maxBodyBytes);
  }

  #method(
    { channel, exchange, key }: PublishAddress,
    mandatory: boolean,
  ): void {
    const end = this.#startFrame(METHOD, channel);
    this.#u16(BASIC);
    this.#u16(PUBLISH);
    this.#u16(0);
    this.#short("exchange", exchange);
    this.#short("routing key", key);
    this.#u8(mandatory ? 1 : 0);
    this.#endFrame(end);
  }

  /** Encodes the header frame. Every peer expects the content type JSON (oslo.messaging reads nothing else). */
  #header(channel: number, message: Message): void {
    const { body, headers, correlationId, replyTo, messageId } = message;
    const expiration = expirationOf(message);
    const end = this.#startFrame(HEADER, channel);
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
    this.#endFrame(end);
    const bytes = this.#at - end;
    if (bytes <= this.#maxBodyBytes) return;
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

  /** Encodes a header value. Integers have 32 or 64 bits, because py-amqp decodes those of 16 bits as texts. */
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

  /** Starts a frame; returns the offset of its length. */
  #startFrame(type: number, channel: number): number {
    this.#u8(type);
    this.#u16(channel);
    this.#at += 4;
    return this.#at - 4;
  }

  #endFrame(length: number): void {
    this.#slab.writeUInt32BE(this.#at - length - 4, length);
    this.#u8(END);
  }

  #ensureRoom(bytes: number): void {
    if (this.#at + bytes <= this.#slab.length) return;
    const waiting = this.#slab.subarray(this.#start, this.#at);
    const slab = Buffer.allocUnsafeSlow(
      Math.max(SLAB_BYTES, waiting.length + bytes),
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

  /** Encodes a text; most texts are ASCII. */
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

/** Returns the expiration in whole milliseconds of 32 bits; 0 would expire the message at once. */
function expirationOf({ expiration }: Message): string | undefined {
  return expiration !== undefined && expiration <= MAX_EXPIRATION_MS
    ? String(Math.max(1, Math.ceil(expiration)))
    : undefined;
}

/** Returns an upper limit of the bytes before the body: a character takes at most three. */
function headSize({ exchange, key }: PublishAddress, message: Message): number {
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

/** What one connection receives: messages and confirms are read here, all else by amqplib. @module */
import { Buffer } from "node:buffer";
import type { Channel } from "npm:amqplib@2.3.1";
import { type Inner, numberOf } from "./private_members.ts";
import { ChannelReader } from "./channel_reader.ts";
import { BODY, END, HEADER, METHOD, OVERHEAD } from "./protocol.ts";
import type { Goodbyes } from "./graceful_close.ts";
import { FieldReader } from "./field_reader.ts";

/** Bytes of a frame before what is in it. */
const HEAD = OVERHEAD - 1;
/** Bytes of a frame at most, as with amqplib: the broker does not keep its own bound where headers are long. */
const MOST = 64 * 1024 * 1024;

/** A frame of which some bytes have come. */
interface Begun {
  /** Where they have gone, if they are of a message's body. */
  readonly body: ChannelReader | undefined;
  /** Else they are here. */
  readonly pieces: Buffer[];
  /** Bytes that are missing, or that are missing to tell its length. */
  missing: number;
}

/**
 * Reads the socket in place of amqplib, and gives amqplib the frames that are not for us. It would read them all by way of
 * a dozen objects for each message, which takes several times as long.
 */
export class FrameReader {
  readonly #connection: Inner;
  readonly #goodbyes: Goodbyes;
  readonly #channels: (ChannelReader | undefined)[] = [];
  readonly #octets = new FieldReader();
  #begun: Begun | undefined;

  /** Of an open connection. */
  constructor(connection: Inner, goodbyes: Goodbyes) {
    this.#connection = connection;
    this.#goodbyes = goodbyes;
    const { stream, rest } = connection;
    if (rest.length > 0) this.#read(rest);
    stream.removeAllListeners("readable");
    stream.on("data", this.#read);
  }

  /** What comes on a channel, from now on. */
  on(channel: Channel): ChannelReader {
    return this.#channels[numberOf(channel)] = new ChannelReader();
  }

  /** The channel is gone: its number will be another's. */
  off(channel: Channel, reader: ChannelReader): void {
    const number = numberOf(channel);
    reader.close();
    if (this.#channels[number] === reader) this.#channels[number] = undefined;
  }

  /** The connection is closing: no message is delivered any more. */
  close(): void {
    for (const reader of this.#channels) reader?.close();
  }

  #read = (chunk: Buffer): void => {
    const connection = this.#connection;
    this.#goodbyes.heard();
    connection.recvSinceLastCheck = true;
    try {
      for (let at = 0; at < chunk.length;) {
        at = this.#begun
          ? this.#more(this.#begun, chunk, at)
          : this.#frame(chunk, at);
      }
    } catch (error) {
      connection.stream.off("data", this.#read);
      connection.emit("frameError", error); // the connection ends
    }
  };

  /** Reads the frame that begins there, or what there is of it; returns how far. */
  #frame(bytes: Buffer, at: number): number {
    const have = bytes.length - at;
    const length = have < HEAD ? 0 : OVERHEAD + bytes.readUInt32BE(at + 3);
    const end = at + length - 1;
    if (length > MOST || (length > 0 && (bytes[end] ?? END) !== END)) {
      throw new Error("Invalid frame");
    }
    if (0 < length && length <= have) {
      if (!this.#ours(bytes, at, end)) {
        this.#theirs(bytes.subarray(at, end + 1));
      }
      return end + 1;
    }
    // Most of what comes in pieces is a large body: its pieces go where they belong at once.
    const body = length > 0 && bytes[at] === BODY &&
      this.#ours(bytes, at, Math.min(end, bytes.length));
    this.#begun = {
      body: body ? this.#channels[bytes.readUInt16BE(at + 1)] : undefined,
      pieces: body ? [] : [bytes.subarray(at)],
      missing: (length || HEAD) - have,
    };
    return bytes.length;
  }

  /** Goes on with a frame of which the first bytes came before. */
  #more(begun: Begun, bytes: Buffer, at: number): number {
    const { body, pieces } = begun;
    const to = Math.min(bytes.length, at + begun.missing);
    begun.missing -= to - at;
    const whole = begun.missing === 0;
    if (whole) this.#begun = undefined;
    if (!body) {
      pieces.push(bytes.subarray(at, to));
      if (whole) this.#frame(Buffer.concat(pieces), 0);
      return to;
    }
    const end = whole ? to - 1 : to;
    if (whole && bytes[end] !== END) throw new Error("Invalid frame");
    if (end > at) body.body(bytes.subarray(at, end));
    return to;
  }

  #ours(bytes: Buffer, at: number, end: number): boolean {
    const reader = this.#channels[bytes.readUInt16BE(at + 1)];
    if (!reader) return false;
    const type = bytes[at], from = at + HEAD;
    if (type === BODY) return reader.body(bytes.subarray(from, end));
    const octets = this.#octets.from(bytes, from, end);
    if (type === METHOD) return reader.method(octets);
    return type === HEADER && reader.header(octets, bytes, end);
  }

  #theirs(frame: Buffer): void {
    const connection = this.#connection;
    connection.rest = frame;
    connection.accept(connection.recvFrame());
  }
}

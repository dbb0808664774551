/** Reader of the frames of one connection: messages and confirms are read here, all other frames by amqplib. @module */
import { Buffer } from "node:buffer";
import type { Channel } from "npm:amqplib@2.3.1";
import { type AmqplibConnection, channelNumber } from "./private_members.ts";
import { ChannelReader } from "./channel_reader.ts";
import { BODY, END, FRAME_OVERHEAD_BYTES, HEADER, METHOD } from "./protocol.ts";
import type { GracefulClose } from "./graceful_close.ts";
import { FieldReader } from "./field_reader.ts";

/** Bytes of a frame before its payload. */
const HEAD_BYTES = FRAME_OVERHEAD_BYTES - 1;
/**
 * Maximum number of bytes of a frame, as in amqplib: RabbitMQ does not keep to the agreed maximum where headers are
 * long.
 */
const MAX_FRAME_BYTES = 64 * 1024 * 1024;

/** A frame of which only a part has arrived. */
interface PartialFrame {
  /** Reader of the channel, if the frame is part of a body: its bytes are handed on at once. */
  readonly body: ChannelReader | undefined;
  /** Received bytes of any other frame. */
  readonly chunks: Buffer[];
  /** Number of missing bytes; before the length of the frame is known, of missing bytes of its head. */
  missing: number;
}

/**
 * Reads the socket in place of amqplib, and hands amqplib the frames that are not read here. amqplib creates a dozen
 * objects for each message, which takes several times as long.
 */
export class FrameReader {
  readonly #connection: AmqplibConnection;
  readonly #goodbyes: GracefulClose;
  readonly #channels: (ChannelReader | undefined)[] = [];
  readonly #octets = new FieldReader();
  #partial: PartialFrame | undefined;

  /** Starts to read the socket of an open connection. */
  constructor(connection: AmqplibConnection, goodbyes: GracefulClose) {
    this.#connection = connection;
    this.#goodbyes = goodbyes;
    const { stream, rest } = connection;
    if (rest.length > 0) this.#read(rest);
    stream.removeAllListeners("readable");
    stream.on("data", this.#read);
  }

  /** Creates the reader of a channel. */
  on(channel: Channel): ChannelReader {
    return this.#channels[channelNumber(channel)] = new ChannelReader();
  }

  /** Removes the reader of a closed channel, whose number will be used again. */
  off(channel: Channel, reader: ChannelReader): void {
    const number = channelNumber(channel);
    reader.close();
    if (this.#channels[number] === reader) this.#channels[number] = undefined;
  }

  /** Ends all deliveries, because the connection is closing. */
  close(): void {
    for (const reader of this.#channels) reader?.close();
  }

  #read = (chunk: Buffer): void => {
    const connection = this.#connection;
    this.#goodbyes.onReceived();
    connection.recvSinceLastCheck = true;
    try {
      for (let at = 0; at < chunk.length;) {
        at = this.#partial
          ? this.#continueFrame(this.#partial, chunk, at)
          : this.#frame(chunk, at);
      }
    } catch (error) {
      connection.stream.off("data", this.#read);
      connection.emit("frameError", error); // this ends the connection
    }
  };

  /** Reads the frame that starts at an offset, or the part of it that has arrived; returns the offset after it. */
  #frame(bytes: Buffer, at: number): number {
    const have = bytes.length - at;
    const length = have < HEAD_BYTES
      ? 0
      : FRAME_OVERHEAD_BYTES + bytes.readUInt32BE(at + 3);
    const end = at + length - 1;
    if (
      length > MAX_FRAME_BYTES || (length > 0 && (bytes[end] ?? END) !== END)
    ) {
      throw new Error("Invalid frame");
    }
    if (0 < length && length <= have) {
      if (!this.#handle(bytes, at, end)) {
        this.#passToAmqplib(bytes.subarray(at, end + 1));
      }
      return end + 1;
    }
    // Most partial frames belong to large bodies: their bytes are handed on at once.
    const body = length > 0 && bytes[at] === BODY &&
      this.#handle(bytes, at, Math.min(end, bytes.length));
    this.#partial = {
      body: body ? this.#channels[bytes.readUInt16BE(at + 1)] : undefined,
      chunks: body ? [] : [bytes.subarray(at)],
      missing: (length || HEAD_BYTES) - have,
    };
    return bytes.length;
  }

  /** Continues a partial frame; returns the offset after it. */
  #continueFrame(begun: PartialFrame, bytes: Buffer, at: number): number {
    const { body, chunks } = begun;
    const to = Math.min(bytes.length, at + begun.missing);
    begun.missing -= to - at;
    const whole = begun.missing === 0;
    if (whole) this.#partial = undefined;
    if (!body) {
      chunks.push(bytes.subarray(at, to));
      if (whole) this.#frame(Buffer.concat(chunks), 0);
      return to;
    }
    const end = whole ? to - 1 : to;
    if (whole && bytes[end] !== END) throw new Error("Invalid frame");
    if (end > at) body.body(bytes.subarray(at, end));
    return to;
  }

  #handle(bytes: Buffer, at: number, end: number): boolean {
    const reader = this.#channels[bytes.readUInt16BE(at + 1)];
    if (!reader) return false;
    const type = bytes[at], from = at + HEAD_BYTES;
    if (type === BODY) return reader.body(bytes.subarray(from, end));
    const octets = this.#octets.from(bytes, from, end);
    if (type === METHOD) return reader.method(octets);
    return type === HEADER && reader.header(octets, bytes, end);
  }

  #passToAmqplib(frame: Buffer): void {
    const connection = this.#connection;
    connection.rest = frame;
    connection.accept(connection.recvFrame());
  }
}

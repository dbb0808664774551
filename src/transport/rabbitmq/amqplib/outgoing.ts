/** Writer of messages and acknowledgements: all of one turn of the event loop in one write. @module */
import { Buffer } from "node:buffer";
import process from "node:process";
import type { Channel } from "npm:amqplib@2.3.1";
import type { Message } from "../../transport.ts";
import { type AmqplibConnection, channelNumber } from "./private_members.ts";
import { BODY, END, FRAME_OVERHEAD_BYTES } from "./protocol.ts";
import { FrameWriter, type PublishAddress } from "./frame_writer.ts";

/**
 * Bytes that are buffered until the end of a turn; above that they are written at once, so that a full socket is
 * noticed.
 */
const MAX_BUFFERED_BYTES = 128 * 1024;

/**
 * Writes messages and acknowledgements to the socket. amqplib encodes each frame by itself and passes it through a
 * stream of its channel, which takes several times as long. All other frames of a channel are written by amqplib, after
 * those that are written here in the same turn.
 */
export class SocketWriter {
  readonly #connection: AmqplibConnection;
  readonly #frames: FrameWriter;
  #scheduled = false;
  #drained: PromiseWithResolvers<void> | undefined;
  /** Promises of channels on which a body is being streamed, by channel number. */
  readonly #busy = new Map<number, Promise<void>>();

  /** Writes to the socket of an open connection. */
  constructor(connection: AmqplibConnection) {
    const { stream, frameMax } = connection;
    this.#connection = connection;
    this.#frames = new FrameWriter(frameMax);
    stream.on("drain", () => this.#drain());
    stream.on("close", () => this.#drain());
  }

  /** Resolves when the socket has room again; undefined while it has room. */
  get full(): Promise<void> | undefined {
    return this.#drained?.promise;
  }

  /**
   * Resolves when the body that is being streamed on a channel is written; undefined if there is none. No other frame
   * may be written on the channel before.
   */
  busy(channel: Channel): Promise<void> | undefined {
    return this.#busy.get(channelNumber(channel));
  }

  /**
   * Writes a message in chunks, as fast as the socket takes them; `alive` returns true while the broker has the channel
   * open.
   *
   * @throws {TypeError} AMQP cannot encode the message; nothing is written then.
   */
  stream(
    channel: Channel,
    { exchange, key }: Omit<PublishAddress, "channel">,
    message: Message,
    alive: () => boolean,
  ): void {
    const number = channelNumber(channel);
    this.#frames.announce({ channel: number, exchange, key }, message);
    this.#flush();
    const sent: Promise<void> = this.#streamBody(number, message.body, alive)
      .catch(() => {}) // the connection is closed
      .finally(() => {
        if (this.#busy.get(number) === sent) this.#busy.delete(number);
      });
    this.#busy.set(number, sent);
  }

  async #streamBody(
    channel: number,
    body: Uint8Array,
    alive: () => boolean,
  ): Promise<void> {
    const most = (this.#connection.frameMax || MAX_BUFFERED_BYTES) -
      FRAME_OVERHEAD_BYTES;
    for (let from = 0; from < body.length; from += most) {
      while (this.full) await this.full;
      if (!alive() || this.#connection.stream.destroyed) return;
      this.#write(bodyFrame(channel, body.subarray(from, from + most)));
    }
  }

  /**
   * Writes a message.
   *
   * @throws {TypeError} AMQP cannot encode the message; nothing is written then.
   */
  publish(
    channel: Channel,
    to: Omit<PublishAddress, "channel">,
    message: Message,
  ): void {
    const { exchange, key } = to;
    const address = { channel: channelNumber(channel), exchange, key };
    this.#frames.publish(address, message);
    if (this.#frames.length < MAX_BUFFERED_BYTES) this.#scheduleFlush();
    else this.#flush();
  }

  /** Acknowledges a delivery, or with `multiple` all deliveries up to it. */
  ack(channel: Channel, tag: number, multiple: boolean): void {
    this.#frames.ack(channelNumber(channel), tag, multiple);
    this.#scheduleFlush();
  }

  /**
   * Rejects a delivery, before any later acknowledgement, since one acknowledgement may include all deliveries before
   * it.
   */
  reject(channel: Channel, tag: number, requeue: boolean): void {
    this.#frames.reject(channelNumber(channel), tag, requeue);
    this.#scheduleFlush();
  }

  #scheduleFlush(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#frames.length > 0) this.#write(this.#frames.take());
  }

  /** Writes bytes, unless the socket is closed: they are lost then, like all bytes in flight. */
  #write(bytes: Uint8Array): void {
    const { stream } = this.#connection;
    if (stream.destroyed || stream.writableEnded) return;
    this.#connection.sentSinceLastCheck = true;
    if (!stream.write(bytes)) this.#drained ??= Promise.withResolvers();
  }

  #drain(): void {
    this.#drained?.resolve();
    this.#drained = undefined;
  }
}

/** Encodes a body frame. */
function bodyFrame(channel: number, part: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafeSlow(part.length + FRAME_OVERHEAD_BYTES);
  frame.writeUInt8(BODY, 0);
  frame.writeUInt16BE(channel, 1);
  frame.writeUInt32BE(part.length, 3);
  frame.set(part, FRAME_OVERHEAD_BYTES - 1);
  frame.writeUInt8(END, frame.length - 1);
  return frame;
}

/** What one connection sends of messages: all of a turn of the event loop in one write. @module */
import { Buffer } from "node:buffer";
import process from "node:process";
import type { Channel } from "npm:amqplib@2.3.1";
import type { Message } from "../../transport.ts";
import { type Inner, numberOf } from "./private_members.ts";
import { BODY, END, OVERHEAD } from "./protocol.ts";
import { type Address, FrameWriter } from "./frame_writer.ts";

/** Bytes that wait for the end of a turn; what is more is written at once, so that a full connection is noticed. */
const MOST = 128 * 1024;

/**
 * Messages and acknowledgements on their way to the socket. amqplib would encode each frame by itself, and pass it through
 * a stream of its channel: that takes several times as long. Everything else of a channel still goes that way, later than
 * what is sent here in the same turn.
 */
export class SocketWriter {
  readonly #connection: Inner;
  readonly #frames: FrameWriter;
  #scheduled = false;
  #drained: PromiseWithResolvers<void> | undefined;
  /** Channels on which a body goes out in pieces. */
  readonly #busy = new Map<number, Promise<void>>();

  /** Of an open connection. */
  constructor(connection: Inner) {
    const { stream, frameMax } = connection;
    this.#connection = connection;
    this.#frames = new FrameWriter(frameMax);
    stream.on("drain", () => this.#drain());
    stream.on("close", () => this.#drain());
  }

  /** Resolves when there is room again; undefined while there is. */
  get full(): Promise<void> | undefined {
    return this.#drained?.promise;
  }

  /** Resolves when a body that goes out on the channel in pieces is out; undefined if there is none: nothing else may be sent before. */
  busy(channel: Channel): Promise<void> | undefined {
    return this.#busy.get(numberOf(channel));
  }

  /**
   * Sends a message in pieces, as the connection takes them; `alive` tells whether the broker still has the channel.
   *
   * @throws {TypeError} AMQP cannot carry it; nothing is sent then.
   */
  stream(
    channel: Channel,
    { exchange, key }: Omit<Address, "channel">,
    message: Message,
    alive: () => boolean,
  ): void {
    const number = numberOf(channel);
    this.#frames.announce({ channel: number, exchange, key }, message);
    this.#flush();
    const sent: Promise<void> = this.#pieces(number, message.body, alive)
      .catch(() => {}) // the connection is gone
      .finally(() => {
        if (this.#busy.get(number) === sent) this.#busy.delete(number);
      });
    this.#busy.set(number, sent);
  }

  async #pieces(
    channel: number,
    body: Uint8Array,
    alive: () => boolean,
  ): Promise<void> {
    const most = (this.#connection.frameMax || MOST) - OVERHEAD;
    for (let from = 0; from < body.length; from += most) {
      while (this.full) await this.full;
      if (!alive() || this.#connection.stream.destroyed) return;
      this.#write(bodyFrame(channel, body.subarray(from, from + most)));
    }
  }

  /**
   * Sends a message.
   *
   * @throws {TypeError} AMQP cannot carry it; nothing is sent then.
   */
  publish(
    channel: Channel,
    to: Omit<Address, "channel">,
    message: Message,
  ): void {
    const { exchange, key } = to;
    const address = { channel: numberOf(channel), exchange, key };
    this.#frames.publish(address, message);
    if (this.#frames.length < MOST) this.#soon();
    else this.#flush();
  }

  /** Acknowledges a delivery, or all up to it. */
  ack(channel: Channel, tag: number, multiple: boolean): void {
    this.#frames.ack(numberOf(channel), tag, multiple);
    this.#soon();
  }

  /** Refuses a delivery: before what is acknowledged later, since one acknowledgement may stand for all before it. */
  reject(channel: Channel, tag: number, requeue: boolean): void {
    this.#frames.reject(numberOf(channel), tag, requeue);
    this.#soon();
  }

  #soon(): void {
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

  /** What is written to a socket that is gone is lost with it, as what is under way there. */
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

/** A frame of a part of a body. */
function bodyFrame(channel: number, part: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafeSlow(part.length + OVERHEAD);
  frame.writeUInt8(BODY, 0);
  frame.writeUInt16BE(channel, 1);
  frame.writeUInt32BE(part.length, 3);
  frame.set(part, OVERHEAD - 1);
  frame.writeUInt8(END, frame.length - 1);
  return frame;
}

/** What one connection sends of messages: all of a turn of the event loop in one write. @module */
import process from "node:process";
import type { Channel } from "npm:amqplib@2.3.1";
import type { Message } from "../transport.ts";
import { type Inner, numberOf } from "./amqplib.ts";
import { type Address, Frames } from "./frames.ts";

/** Bytes that wait for the end of a turn; what is more is written at once, so that a full connection is noticed. */
const MOST = 128 * 1024;

/**
 * Messages and acknowledgements on their way to the socket. amqplib would encode each frame by itself, and pass it through
 * a stream of its channel: that takes several times as long. Everything else of a channel still goes that way, later than
 * what is sent here in the same turn.
 */
export class Outgoing {
  readonly #connection: Inner;
  readonly #frames: Frames;
  #scheduled = false;
  #drained: PromiseWithResolvers<void> | undefined;

  /** Of an open connection. */
  constructor(connection: Inner) {
    const { stream, frameMax } = connection;
    this.#connection = connection;
    this.#frames = new Frames(frameMax);
    stream.on("drain", () => this.#drain());
    stream.on("close", () => this.#drain());
  }

  /** Resolves when there is room again; undefined while there is. */
  get full(): Promise<void> | undefined {
    return this.#drained?.promise;
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

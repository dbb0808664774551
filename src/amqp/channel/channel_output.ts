/** Output of one channel: its frames, in the order of the calls. @module */
import type { Content } from "../codec/content.ts";
import type { Destination, FrameWriter } from "../codec/frame_writer.ts";
import type { Args, MethodName } from "../codec/method_args.ts";
import type { NackOptions } from "./channel_options.ts";
import type { SocketWriter } from "../socket/socket_writer.ts";

/** Writes the frames of one channel. */
export class ChannelOutput {
  readonly #channel: number;
  readonly #writer: SocketWriter;
  /** Frames that wait until the body of a large message is written, since no other frame may be inside a content. */
  #held: FrameWriter | undefined;
  #writing: Promise<void> | undefined;
  #sealed = false;
  #ended = false;

  /** `writer` is the one of the connection. */
  constructor(channel: number, writer: SocketWriter) {
    this.#channel = channel;
    this.#writer = writer;
  }

  /** Resolves when the body of a large message is written; undefined if there is none. */
  get writing(): Promise<void> | undefined {
    return this.#writing;
  }

  /** Writes a method. */
  method<N extends MethodName>(name: N, args: Partial<Args<N>>): void {
    this.#frames.method(this.#channel, name, args);
    this.#writer.schedule();
  }

  /** Writes a method at once, also between the frames of a body: for `close-ok`, after which no body follows. */
  urgentMethod<N extends MethodName>(name: N, args: Partial<Args<N>>): void {
    this.#writer.frames.method(this.#channel, name, args);
    this.#writer.schedule();
  }

  /** Writes `basic.ack`, unless the channel is closing. */
  ack(deliveryTag: number, multiple: boolean): void {
    if (this.#sealed) return;
    this.#frames.ack(this.#channel, deliveryTag, multiple);
    this.#writer.schedule();
  }

  /** Writes `basic.nack`, unless the channel is closing. */
  nack(
    deliveryTag: number,
    { multiple = false, requeue = true }: NackOptions,
  ): void {
    if (this.#sealed) return;
    this.#frames.nack(this.#channel, deliveryTag, multiple, requeue);
    this.#writer.schedule();
  }

  /** Writes `basic.reject`, unless the channel is closing. */
  reject(deliveryTag: number, requeue: boolean): void {
    if (this.#sealed) return;
    this.#frames.reject(this.#channel, deliveryTag, requeue);
    this.#writer.schedule();
  }

  /** Writes a message. */
  publish(to: Destination, content: Content): void {
    this.#frames.publish(this.#channel, to, content);
    this.#writer.schedule();
  }

  /**
   * Starts a message whose body `writeBody` writes.
   *
   * @throws {TypeError} another large message is being written, or a property cannot be encoded; nothing is written then.
   */
  announce(to: Destination, content: Content): void {
    if (this.#held) {
      throw new TypeError(
        "Another large message is being written on the channel: wait for it",
      );
    }
    this.#writer.frames.announce(this.#channel, to, content);
    this.#held = this.#writer.frames.withSameLimits();
  }

  /** Writes the body of the message that was announced, in chunks; resolves when it is written, or the channel has ended. */
  writeBody(body: Uint8Array): Promise<void> {
    return this.#writing = this.#writeChunks(body).then(() => {
      const held = this.#held;
      this.#held = this.#writing = undefined;
      if (this.#ended || !held) return;
      this.#writer.frames.append(held.take());
      this.#writer.schedule();
    });
  }

  /** Drops all later acknowledgements, because the channel is closing. */
  seal(): void {
    this.#sealed = true;
  }

  /** Ends the channel: nothing more is written. */
  end(): void {
    this.#sealed = true;
    this.#ended = true;
  }

  get #frames(): FrameWriter {
    return this.#held ?? this.#writer.frames;
  }

  async #writeChunks(body: Uint8Array): Promise<void> {
    const writer = this.#writer;
    const most = writer.frames.maxBodyBytes;
    for (let from = 0; from < body.length; from += most) {
      while (writer.full && !this.#ended) await writer.drained();
      if (this.#ended) return;
      writer.frames.body(this.#channel, body.subarray(from, from + most));
      writer.schedule();
    }
  }
}

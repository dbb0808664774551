/** AMQP channel of amqplib, with the listeners that must be set before it is used. @module */
import type { Channel, ChannelModel, ConfirmChannel } from "npm:amqplib@2.3.1";
import { logger } from "../../../logging.ts";
import type { ChannelReader } from "./channel_reader.ts";
import type { FrameReader } from "./frame_reader.ts";
import type { GracefulClose } from "./graceful_close.ts";
import type { SocketWriter } from "./outgoing.ts";

/** Members of an open connection that a channel needs. */
export interface ChannelHost {
  /** Connection of amqplib, on which channels are opened. */
  readonly model: ChannelModel;
  /** Writes messages and acknowledgements. */
  readonly writer: SocketWriter;
  /** Reads frames. */
  readonly reader: FrameReader;
  /** Limits the wait for replies of the broker while something is closed. */
  readonly gracefulClose: GracefulClose;
}

/** Reason for the end of a channel; `code` is the reply code if the broker closed the channel. */
export interface ChannelEnd {
  /** Reply code, e.g. 406. */
  readonly code?: number | undefined;
  /** Text of the reason. */
  readonly reason: string;
}

/** An open channel. */
export interface OpenChannel<C extends Channel> {
  /** Channel of amqplib. */
  readonly channel: C;
  /** Writes messages on the connection. */
  readonly writer: SocketWriter;
  /** Reads the messages and confirms of the channel. */
  readonly input: ChannelReader;
  /** False from the moment at which the channel can no longer be used: acknowledging then would throw. */
  readonly alive: boolean;
  /** True once the broker has closed the channel. */
  readonly closed: boolean;
  /** Resolves when the channel is closed. */
  readonly ended: Promise<ChannelEnd>;
  /**
   * Closes the channel, and resolves with the reply of the broker, or without it after a second; see `GracefulClose`.
   * `ended` resolves as well.
   */
  close(): Promise<void>;
}

/** A channel of amqplib with its listeners. amqplib rejects pending requests with "channel closed"; the reason comes with 'error'. */
class WatchedChannel<C extends Channel> implements OpenChannel<C> {
  readonly channel: C;
  readonly writer: SocketWriter;
  readonly input: ChannelReader;
  readonly ended: Promise<ChannelEnd>;
  readonly #gracefulClose: GracefulClose;
  readonly #resolveEnded: (end: ChannelEnd) => void;
  #alive = true;
  #closed = false;
  #reason: ChannelEnd = { reason: "channel closed" };

  constructor(channel: C, { writer, reader, gracefulClose }: ChannelHost) {
    const { promise, resolve } = Promise.withResolvers<ChannelEnd>();
    this.channel = channel;
    this.writer = writer;
    this.input = reader.on(channel);
    this.ended = promise;
    this.#gracefulClose = gracefulClose;
    this.#resolveEnded = resolve;
    channel.on("error", (error: Error & { code?: number }) => {
      this.#alive = false;
      this.#closed = true;
      this.#reason = { code: error.code, reason: error.message };
    });
    channel.on(
      "handler-error",
      (error: Error) =>
        logger("bus").error("A channel's listener threw: {error}", { error }),
    );
    channel.on("close", () => {
      reader.off(channel, this.input);
      this.#end();
    });
  }

  get alive(): boolean {
    return this.#alive;
  }

  get closed(): boolean {
    return this.#closed;
  }

  async close(): Promise<void> {
    if (!this.#alive) return;
    this.#alive = false;
    this.input.close();
    // Any other frame between the frames of a body would end the connection.
    const whole = this.writer.busy(this.channel) ?? Promise.resolve();
    const closing = whole.then(() => this.channel.close()).catch(() => {}); // the connection was lost first
    const replied = await this.#gracefulClose.waitForReply(
      Promise.race([closing, this.ended]),
    );
    // The broker may reply later; until then, frames of the channel are still read and dropped.
    if (!replied) this.#end();
  }

  #end(): void {
    this.#alive = false;
    this.#closed = true;
    this.#resolveEnded(this.#reason);
    this.input.confirms.loseAll();
  }
}

/** Opens a channel. */
export async function openChannel(
  socket: ChannelHost,
): Promise<OpenChannel<Channel>> {
  return new WatchedChannel(await socket.model.createChannel(), socket);
}

/** Opens a channel with publisher confirms. */
export async function openConfirmChannel(
  socket: ChannelHost,
): Promise<OpenChannel<ConfirmChannel>> {
  const channel = await socket.model.createConfirmChannel();
  return new WatchedChannel(channel, socket);
}

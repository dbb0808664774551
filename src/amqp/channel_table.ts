/** Open channels of a connection by their numbers. @module */
import type { AmqpError } from "./codec/amqp_error.ts";
import { FrameError } from "./codec/protocol.ts";
import type { ChannelHandler } from "./channel/channel_host.ts";

/** Channels by their numbers, which count from 1. */
export class ChannelTable {
  readonly #channels: (ChannelHandler | undefined)[] = [undefined];

  /** Adds a channel under the lowest free number, up to `max`; 0 = no limit. Returns undefined if all are in use. */
  add(handler: ChannelHandler, max: number): number | undefined {
    const free = this.#channels.indexOf(undefined, 1);
    const number = free > 0 ? free : this.#channels.length;
    if (max > 0 && number > max) return undefined;
    this.#channels[number] = handler;
    return number;
  }

  /** Removes a channel. */
  remove(number: number): void {
    this.#channels[number] = undefined;
  }

  /**
   * Returns the channel with that number.
   *
   * @throws {FrameError} there is none.
   */
  get(number: number): ChannelHandler {
    const channel = this.#channels[number];
    if (channel) return channel;
    throw new FrameError(
      `a frame belongs to channel ${number}, which is not open`,
    );
  }

  /** Stops all channels, because this client closes the connection. */
  stop(): void {
    for (const channel of this.#channels) channel?.onClosing();
  }

  /** Ends all channels, because the connection is lost. */
  lose(reason: AmqpError): void {
    const lost = this.#channels.splice(1);
    for (const channel of lost) channel?.onLost(reason);
  }
}

/** Private members of amqplib, for which its version is pinned. @module */
import type { Buffer } from "node:buffer";
import type { Duplex } from "node:stream";
import type { Channel, ChannelModel } from "npm:amqplib@2.3.1";

/** Timer of heartbeats. */
interface Timer {
  ref?(): void;
  unref?(): void;
}

/** Connection of amqplib. */
export interface AmqplibConnection {
  /** The socket. */
  readonly stream: Duplex & { ref?(): void; unref?(): void };
  /** Maximum number of bytes of a frame. */
  readonly frameMax: number;
  readonly heartbeater: {
    readonly sendTimer?: Timer;
    readonly recvTimer?: Timer;
  } | null;
  /** True if data was written or read since the last check of the heartbeats. */
  sentSinceLastCheck: boolean;
  recvSinceLastCheck: boolean;
  /** Received bytes that were not read yet. */
  rest: Buffer;
  /** Reads a frame from the received bytes. */
  recvFrame(): unknown;
  /** Handles a frame. */
  accept(frame: unknown): void;
  emit(event: "frameError", error: unknown): boolean;
}

/** Returns the connection of a channel model. */
export const connectionOf = (model: ChannelModel) =>
  model.connection as unknown as AmqplibConnection;

/** Returns the number of a channel. */
export const channelNumber = (channel: Channel) =>
  (channel as unknown as { readonly ch: number }).ch;

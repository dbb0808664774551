/** The parts of amqplib that its types do not show; its version is pinned for them. @module */
import type { Buffer } from "node:buffer";
import type { Duplex } from "node:stream";
import type { Channel, ChannelModel } from "npm:amqplib@2.3.1";

/** A timer of its heartbeats. */
interface Timer {
  ref?(): void;
  unref?(): void;
}

/** Its connection. */
export interface Inner {
  /** The socket. */
  readonly stream: Duplex & { ref?(): void; unref?(): void };
  /** Bytes of a frame at most. */
  readonly frameMax: number;
  readonly heartbeater: {
    readonly sendTimer?: Timer;
    readonly recvTimer?: Timer;
  } | null;
  /** Whether anything was sent, or came, since its heart looked last. */
  sentSinceLastCheck: boolean;
  recvSinceLastCheck: boolean;
  /** What has come and was not read yet. */
  rest: Buffer;
  /** Takes a frame from what has come. */
  recvFrame(): unknown;
  /** Does what a frame says. */
  accept(frame: unknown): void;
  emit(event: "frameError", error: unknown): boolean;
}

/** The connection behind a model. */
export const innerOf = (model: ChannelModel) =>
  model.connection as unknown as Inner;

/** Number of a channel. */
export const numberOf = (channel: Channel) =>
  (channel as unknown as { readonly ch: number }).ch;

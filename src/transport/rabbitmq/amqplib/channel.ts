/** One AMQP channel, with the listeners that it must have before anything else is done with it. @module */
import type { Channel, ChannelModel, ConfirmChannel } from "npm:amqplib@2.3.1";
import { logger } from "../../../logging.ts";
import type { ChannelReader } from "./channel_reader.ts";
import type { FrameReader } from "./frame_reader.ts";
import type { Goodbyes } from "./graceful_close.ts";
import type { SocketWriter } from "./outgoing.ts";

/** The parts of an open connection that a channel needs. */
export interface ChannelHost {
  /** To open channels on. */
  readonly model: ChannelModel;
  /** Sends messages. */
  readonly outgoing: SocketWriter;
  /** Tells of what comes. */
  readonly incoming: FrameReader;
  /** Closes it in order. */
  readonly goodbyes: Goodbyes;
}

/** Why a channel ended; `code` is the broker's reply code where it was the broker's doing. */
export interface ChannelEnd {
  /** Reply code, e.g. 406. */
  readonly code?: number | undefined;
  /** Text. */
  readonly reason: string;
}

/** An open channel that tells when it is gone. */
export interface Open<C extends Channel> {
  /** amqplib's. */
  readonly channel: C;
  /** Sends messages on its connection. */
  readonly outgoing: SocketWriter;
  /** What comes on it. */
  readonly reader: ChannelReader;
  /** False from the moment it can no longer be used: acknowledging then would throw. */
  readonly alive: boolean;
  /** True once the broker does not have it any more. */
  readonly gone: boolean;
  /** Resolves when it is gone. */
  readonly ended: Promise<ChannelEnd>;
  /** Closes it, with the broker's answer or in a second without, see `Goodbyes`; the promise of `ended` resolves as well. */
  close(): Promise<void>;
}

/** Watches a channel. The reason comes only with 'error'; whoever has work under way is just told "channel closed". */
export function watched<C extends Channel>(
  channel: C,
  { outgoing, incoming, goodbyes }: ChannelHost,
): Open<C> {
  const reader = incoming.on(channel);
  let alive = true;
  let gone = false;
  let reason: ChannelEnd = { reason: "channel closed" };
  const { promise: ended, resolve } = Promise.withResolvers<ChannelEnd>();
  /** Whoever waits is told. */
  const end = () => {
    alive = false;
    gone = true;
    resolve(reason);
    reader.confirms.end();
  };
  channel.on("error", (error: Error & { code?: number }) => {
    alive = false;
    gone = true;
    reason = { code: error.code, reason: error.message };
  });
  channel.on(
    "handler-error",
    (error: Error) =>
      logger("bus").error("A channel's listener threw: {error}", { error }),
  );
  channel.on("close", () => {
    incoming.off(channel, reader);
    end();
  });
  return {
    channel,
    outgoing,
    reader,
    ended,
    get alive() {
      return alive;
    },
    get gone() {
      return gone;
    },
    async close() {
      if (!alive) return;
      alive = false;
      reader.close();
      // In the middle of a body, anything else on the channel would end the connection.
      const whole = outgoing.busy(channel) ?? Promise.resolve();
      const closing = whole.then(() => channel.close()).catch(() => {}); // the connection went first
      const answered = await goodbyes.answered(Promise.race([closing, ended]));
      // The broker may answer later: until then what comes on the channel is still read, and dropped.
      if (!answered) end();
    },
  };
}

/** Opens a channel. */
export async function openChannel(socket: ChannelHost): Promise<Open<Channel>> {
  return watched(await socket.model.createChannel(), socket);
}

/** Opens a channel with publisher confirms. */
export async function openConfirmChannel(
  socket: ChannelHost,
): Promise<Open<ConfirmChannel>> {
  return watched(await socket.model.createConfirmChannel(), socket);
}

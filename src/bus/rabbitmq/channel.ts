/** One AMQP channel, with the listeners that it must have before anything else is done with it. @module */
import type { Channel, ConfirmChannel } from "npm:amqplib@2.3.1";
import { pause, within } from "../../wait.ts";
import { log } from "../../telemetry.ts";
import type { Arrivals } from "./arrivals.ts";
import type { Outgoing } from "./outgoing.ts";
import { backoff, type Side } from "./side.ts";
import type { Socket } from "./socket.ts";

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
  readonly outgoing: Outgoing;
  /** What comes on it. */
  readonly arrivals: Arrivals;
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
  { outgoing, incoming, goodbyes }: Socket,
): Open<C> {
  const arrivals = incoming.on(channel);
  let alive = true;
  let gone = false;
  let reason: ChannelEnd = { reason: "channel closed" };
  const { promise: ended, resolve } = Promise.withResolvers<ChannelEnd>();
  /** Whoever waits is told. */
  const end = () => {
    alive = false;
    gone = true;
    resolve(reason);
    arrivals.confirms.end();
  };
  channel.on("error", (error: Error & { code?: number }) => {
    alive = false;
    gone = true;
    reason = { code: error.code, reason: error.message };
  });
  channel.on(
    "handler-error",
    (error: Error) =>
      log("bus").error("A channel's listener threw: {error}", { error }),
  );
  channel.on("close", () => {
    incoming.off(channel, arrivals);
    end();
  });
  return {
    channel,
    outgoing,
    arrivals,
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
      arrivals.close();
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
export async function openChannel(socket: Socket): Promise<Open<Channel>> {
  return watched(await socket.model.createChannel(), socket);
}

/** Opens a channel with publisher confirms. */
export async function openConfirmChannel(
  socket: Socket,
): Promise<Open<ConfirmChannel>> {
  return watched(await socket.model.createConfirmChannel(), socket);
}

/** Opens one on a side's connection, however often that is lost meanwhile; `signal` ends it, and leaves none open. */
export async function openOn<C extends Channel>(
  side: Side,
  open: (socket: Socket) => Promise<Open<C>>,
  signal: AbortSignal,
): Promise<Open<C>> {
  const wait = { deadline: Infinity, signal };
  for (let attempt = 0;; attempt++) {
    const opening = open(await side.up(wait));
    try {
      return await within(opening, wait, () => undefined);
    } catch {
      if (signal.aborted) void opening.then((late) => late.close(), () => {});
      await pause(backoff(attempt), wait);
    }
  }
}

/** Options of a transport to RabbitMQ, and what its connections take from them. @module */
import type { BusProfile } from "../profile.ts";
import type { TlsOptions } from "../credentials.ts";
import type { DialSettings, MoveTimes } from "./connection/dial.ts";
import { GracefulClose } from "./connection/graceful_close.ts";
import {
  type Access,
  inRandomOrder,
  type LoginRejectionLimits,
} from "./connection/login.ts";

/** Milliseconds until an attempt to connect is given up. */
const CONNECT_TIMEOUT_MS = 10_000;

/** Options of a transport to RabbitMQ. */
export interface RabbitOptions {
  /** URLs of the nodes, any of which can be used; a function is called at each attempt to connect. */
  readonly urls: readonly URL[] | Access["urls"];
  /** Called at each attempt to connect; default: the login of the URLs. */
  readonly credentials?: Access["credentials"];
  /** Limits after which rejections of a login that was accepted before are final; default: 5 rejections, and 60 000 ms. */
  readonly loginRejectionLimits?: LoginRejectionLimits | undefined;
  /** Seconds between heartbeats; default 10. */
  readonly heartbeat?: number | undefined;
  /** TLS settings for `amqps:` URLs. */
  readonly tls?: TlsOptions | undefined;
  /** Name of the program, which the broker shows for its connections; default `warren`. */
  readonly name?: string | undefined;
  /** Times of moves to the preferred node; default: a pause of 1 to 5 minutes, and 5000 ms for requests that are sent. */
  readonly moveTimes?: MoveTimes | undefined;
  /** Names and flags of exchanges and queues; default: Warren's. */
  readonly profile?: BusProfile | undefined;
}

/** Returns the way to the nodes, which have the same random order for all connections of the transport. */
export function accessOf({ urls, credentials }: RabbitOptions): Access {
  const order = inRandomOrder();
  return {
    urls: async (signal) =>
      order(typeof urls === "function" ? await urls(signal) : urls),
    credentials,
  };
}

/** Returns the settings that the connections of a transport share. */
export const dialSettings = (
  { tls, name = "warren", moveTimes }: RabbitOptions,
  heartbeat: number,
): DialSettings => ({
  ...{ heartbeat, tls, name, moveTimes },
  connectTimeout: CONNECT_TIMEOUT_MS,
  gracefulClose: new GracefulClose(),
});

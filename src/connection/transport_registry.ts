/** Transports of this process: connections to one broker with equal settings share one. @module */
import { type PoolOptions, SessionPool } from "../transport/session_pool.ts";
import type { BusProfile } from "../transport/profile.ts";
import type { Transport } from "../transport/transport.ts";
import { runDetached } from "../rpc/propagation.ts";
import { Inbox } from "../rpc/inbox.ts";
import { defaultLimits, type Limits } from "../wire/mod.ts";
import type { AskedUrls, ConnectionOptions } from "./connection_options.ts";

/** Transport of this process, with the objects that its connections share. */
export interface SharedTransport {
  /** Sessions in use, and idle sessions. */
  readonly pool: SessionPool;
  /** Reply queue of the process. */
  readonly inbox: Inbox;
}

const transports = new Map<string, SharedTransport>();

/**
 * Limits of the pool of each transport: number of idle sessions, and milliseconds after which an idle session is
 * closed.
 */
const pool: PoolOptions = { size: 30, idle: 60_000 };

/** Name of the bus of a memory URL: `memory:name` and `memory://name` are the same. */
export const busName = (url: URL): string =>
  url.host || url.pathname.replace(/^\/+/, "");

const numbers = new WeakMap<object, number>();
let functions = 0;

/** Returns a number that identifies a function; undefined without a function. */
function numberOf(target: object | undefined): number | undefined {
  if (target && !numbers.has(target)) numbers.set(target, ++functions);
  return target && numbers.get(target);
}

/** Returns the key of a transport: connections with the same settings have the same key, and share a transport. */
export function transportKey(
  urls: readonly URL[] | AskedUrls,
  options: ConnectionOptions,
  profile: BusProfile,
): string {
  const { tls, credentials, heartbeat = 10 } = options;
  const { maxMessageSize = defaultLimits.bytes } = options;
  const isFunction = typeof urls === "function";
  const [first] = isFunction ? [] : urls;
  if (first?.protocol === "memory:") {
    return JSON.stringify([`memory:${busName(first)}`, profile]);
  }
  return JSON.stringify([
    isFunction ? numberOf(urls) : urls.map(String).sort(),
    numberOf(credentials),
    tls,
    heartbeat,
    maxMessageSize,
    profile,
  ]);
}

/** Returns the transport of a key; creates it with `make` if there is none. */
export function sharedTransport(
  key: string,
  make: () => Transport,
  limits: Limits,
): SharedTransport {
  const known = transports.get(key);
  if (known) return known;
  const transport = runDetached(make);
  const forget = () => {
    if (transports.get(key) === shared) transports.delete(key);
  };
  const shared: SharedTransport = {
    pool: new SessionPool(transport, forget, pool),
    inbox: new Inbox(transport, limits),
  };
  transports.set(key, shared);
  // A connection that is made after a final failure gets a new transport, which may succeed.
  transport.onEvent(({ type }) => type === "failed" && forget());
  return shared;
}

/**
 * Closes all idle sessions of this process (Nova: `rpc.cleanup`). Sessions in use stay open.
 * @category Nova's low-level steps
 */
export async function cleanup(): Promise<void> {
  await Promise.all(
    [...transports.values()].map(({ pool }) => pool.cleanup()),
  );
}

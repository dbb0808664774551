/** The links of this process: one for each broker, however many connections there are. @module */
import { type PoolOptions, SessionPool } from "../transport/session_pool.ts";
import type { BusProfile } from "../transport/profile.ts";
import type { Transport } from "../transport/transport.ts";
import { runDetached } from "../rpc/propagation.ts";
import { Inbox } from "../rpc/inbox.ts";
import { defaultLimits, type Limits } from "../wire/mod.ts";
import type { AskedUrls, ConnectionOptions } from "./connection_options.ts";

/** A link of this process, with what is shared by all who use it. */
export interface SharedTransport {
  /** Who uses it. */
  readonly pool: SessionPool;
  /** What comes for them. */
  readonly inbox: Inbox;
}

const transports = new Map<string, SharedTransport>();

/** The bounds of every link's pool. */
const pool: PoolOptions = { size: 30, idle: 60_000 };

/** The bus of a memory URL: `memory:name` and `memory://name` are one. */
const busName = (url: URL) => url.host || url.pathname.replace(/^\/+/, "");

const numbers = new WeakMap<object, number>();
let functions = 0;

/** A number that no other function has. */
function numberOf(given: object | undefined): number | undefined {
  if (given && !numbers.has(given)) numbers.set(given, ++functions);
  return given && numbers.get(given);
}

/** Key of a transport: connections with the same settings share one. */
export function transportKey(
  urls: readonly URL[] | AskedUrls,
  options: ConnectionOptions,
  profile: BusProfile,
): string {
  const { tls, credentials, heartbeat = 10 } = options;
  const { maxMessageSize = defaultLimits.bytes } = options;
  const asked = typeof urls === "function";
  const [first] = asked ? [] : urls;
  if (first?.protocol === "memory:") {
    return JSON.stringify([`memory:${busName(first)}`, profile]);
  }
  return JSON.stringify([
    asked ? numberOf(urls) : urls.map(String).sort(),
    numberOf(credentials),
    tls,
    heartbeat,
    maxMessageSize,
    profile,
  ]);
}

/** The link of that key; made if there is none. */
export function sharedTransport(
  key: string,
  make: () => Transport,
  limits: Limits,
): SharedTransport {
  const known = transports.get(key);
  if (known) return known;
  const transport = runDetached(make);
  const forget = () => {
    if (transports.get(key) === made) transports.delete(key);
  };
  const made: SharedTransport = {
    pool: new SessionPool(transport, forget, pool),
    inbox: new Inbox(transport, limits),
  };
  transports.set(key, made);
  // Whoever connects after a failure for good gets a new link, which may do better.
  transport.onEvent(({ type }) => type === "failed" && forget());
  return made;
}

/**
 * Closes all that is idle in the pools of this process (Nova: `rpc.cleanup`); what is in use stays.
 * @category Nova's low-level steps
 */
export async function cleanup(): Promise<void> {
  await Promise.all(
    [...transports.values()].map(({ pool }) => pool.cleanup()),
  );
}

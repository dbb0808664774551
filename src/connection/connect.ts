/** Creation of connections from URLs. No other module selects a concrete transport. @module */
import { logger } from "../logging.ts";
import { sharedBus } from "../transport/memory/bus.ts";
import { MemoryTransport } from "../transport/memory/transport.ts";
import { RabbitTransport } from "../transport/rabbitmq/transport.ts";
import type { BusProfile } from "../transport/profile.ts";
import type { SessionOptions, Transport } from "../transport/transport.ts";
import { probeLedger } from "../ledger/options.ts";
import { credentialsFrom, urlsFrom } from "./login_functions.ts";
import {
  checkConnectionOptions,
  type CheckedOptions,
  DEFAULT_TIMEOUT_MS,
} from "./checked_options.ts";
import { type ConnectionContext, createContext } from "./connection_context.ts";
import {
  type AskedUrls,
  type BrokerUrls,
  type ConnectionOptions,
  parseUrls,
} from "./connection_options.ts";
import type { ConnectionDependencies } from "./dependencies.ts";
import {
  busName,
  sharedTransport,
  transportKey,
} from "./transport_registry.ts";

function createTransport(
  where: readonly URL[] | AskedUrls,
  { tls, heartbeat, publisherId: name, ...options }: ConnectionOptions,
  profile: BusProfile,
): Transport {
  const credentials = options.credentials &&
    credentialsFrom(options.credentials);
  const rabbit = { credentials, tls, heartbeat, name, profile };
  if (typeof where === "function") {
    return new RabbitTransport({
      ...rabbit,
      urls: urlsFrom(where, unencryptedWarning()),
    });
  }
  const [first] = where;
  if (first?.protocol === "memory:") {
    return new MemoryTransport(profile, sharedBus(busName(first)));
  }
  unencryptedWarning()(where);
  const isCluster = where.length > 1 && profile.anyQueueType;
  const queueType = isCluster ? "quorum" : profile.queueType;
  const chosen: BusProfile = { ...profile, queueType };
  return new RabbitTransport({ ...rabbit, urls: where, profile: chosen });
}

/** Returns a function that warns once of connections without TLS, on which logins and messages can be read. */
function unencryptedWarning(): (urls: readonly URL[]) => void {
  let warned = false;
  return (urls) => {
    const open = urls.filter(isUnencrypted).map(({ host }) => host);
    if (warned || open.length === 0) return;
    warned = true;
    logger("bus").warn(
      "The connection to {hosts} is without TLS: logins and messages can be read on the way; use amqps",
      { hosts: open.join(", ") },
    );
  };
}

/** Names and addresses of this machine. */
const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/i;

/** True if messages leave this machine unencrypted. */
function isUnencrypted({ protocol, hostname }: URL): boolean {
  return protocol === "amqp:" && !LOOPBACK.test(hostname);
}

/**
 * Connects to one broker. The names of the options were checked before, since a service has further options.
 *
 * @throws {ConnectionFailedError} the broker cannot be reached in time, or refuses the login or virtual host.
 * @throws {InvalidValueError} a URL or an option is invalid.
 */
export async function connect(
  url: BrokerUrls,
  options: ConnectionOptions,
): Promise<ConnectionContext> {
  return createContext(
    await openConnection(url, checkConnectionOptions(options)),
  );
}

/**
 * Opens a session on the transport of the process for this broker; creates the transport if there is none.
 *
 * @throws {ConnectionFailedError} for the same reasons as `connect`.
 * @throws {InvalidValueError} the URL is invalid.
 */
export async function openConnection(
  url: BrokerUrls,
  checked: CheckedOptions,
  sessionOptions?: SessionOptions,
): Promise<ConnectionDependencies> {
  const { options, profile, messages, server } = checked;
  const { pooled = false, timeout = DEFAULT_TIMEOUT_MS, signal } = options;
  const deadline = { at: performance.now() + timeout, signal };
  const brokers = typeof url === "function" ? url : parseUrls(url);
  await probeLedger(options);
  const { pool, inbox } = sharedTransport(
    transportKey(brokers, options, profile),
    () => createTransport(brokers, options, profile),
    messages.limits,
  );
  const session = await pool.acquire(pooled, deadline, sessionOptions);
  const release = (reusable: boolean) =>
    pool.release(session, pooled, reusable);
  const { transport } = pool;
  return {
    resources: { session, inbox, transport, release },
    messages,
    server,
    user: userOf(brokers, options),
    notifications: checked.notifications,
  };
}

/** Returns the user of a login that a URL names. */
function userOf(
  brokers: readonly URL[] | AskedUrls,
  { credentials }: ConnectionOptions,
): string | undefined {
  if (typeof brokers === "function" || credentials) return undefined;
  const [first] = brokers;
  if (first?.protocol === "memory:") return undefined;
  return decodeURIComponent(first?.username || "guest");
}

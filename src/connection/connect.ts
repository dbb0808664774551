/** From a URL to a connection: the one place that picks concrete parts. @module */
import { InvalidValueError } from "../errors.ts";
import { logger, oneLine } from "../logging.ts";
import { MemoryTransport } from "../transport/memory/transport.ts";
import { RabbitTransport } from "../transport/rabbitmq/transport.ts";
import type { BusProfile } from "../transport/profile.ts";
import { checkNotificationSettings } from "../rpc/notifications/notifier.ts";
import type { LegacyPeers } from "../rpc/client/legacy_reply_queues.ts";
import type { Transport } from "../transport/transport.ts";
import { type ConnectionContext, createContext } from "./connection_context.ts";
import type { ConnectionParts } from "./dependencies.ts";
import { checkDuration, checkInteger } from "../option_checks.ts";
import {
  defaultLimits,
  type Dialect,
  dialects,
  type Limits,
} from "../wire/mod.ts";
import { busProfile } from "./bus_profile.ts";
import { sharedTransport, transportKey } from "./transport_registry.ts";
import {
  checkLedger,
  consumerTimeoutOf,
  probeLedger,
} from "../ledger/options.ts";
import {
  type AskedUrls,
  type BrokerUrls,
  type ConnectionOptions,
  LONG_RUNNING,
  parseUrls,
} from "./connection_options.ts";
import { checkConnectionNames } from "./option_names.ts";
import {
  askedCredentials,
  askedUrls,
  checkCredentials,
} from "./asked_login.ts";

function createTransport(
  where: readonly URL[] | AskedUrls,
  { tls, heartbeat, publisherId: name, ...options }: ConnectionOptions,
  profile: BusProfile,
): Transport {
  const credentials = options.credentials &&
    askedCredentials(options.credentials);
  const rabbit = { credentials, tls, heartbeat, name, profile };
  if (typeof where === "function") {
    return new RabbitTransport({
      ...rabbit,
      urls: askedUrls(where, warnOpen()),
    });
  }
  if (where[0]?.protocol === "memory:") return new MemoryTransport(profile);
  warnOpen()(where);
  return new RabbitTransport({ ...rabbit, urls: where });
}

/** Says once what can be read on the way. */
function warnOpen(): (urls: readonly URL[]) => void {
  let said = false;
  return (urls) => {
    const open = urls.filter(isOpen).map(({ host }) => host);
    if (said || open.length === 0) return;
    said = true;
    logger("bus").warn(
      "The connection to {hosts} is without TLS: logins and messages can be read on the way; use amqps",
      { hosts: open.join(", ") },
    );
  };
}

/** The addresses of this machine itself. */
const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/i;

/** True where what is sent leaves the machine as it is. */
function isOpen({ protocol, hostname }: URL): boolean {
  return protocol === "amqp:" && !LOOPBACK.test(hostname);
}

function dialectOf(name: ConnectionOptions["dialect"] = "grizzly"): Dialect {
  if (Object.hasOwn(dialects, name)) return dialects[name];
  throw new InvalidValueError(
    `Invalid option dialect ${oneLine(name, 40)}: give grizzly, folsom or oslo`,
    { data: { path: "dialect" } },
  );
}

/** Folsom's servers may be on an OpenStack bus; none of them understands an envelope. */
function legacyPeersOf({ name }: Dialect, { nova }: BusProfile): LegacyPeers {
  if (name === "folsom") return "always";
  return nova && name === "grizzly" ? "learn" : "never";
}

/**
 * Connects to a broker, or joins the process's connection to it: however many contexts there are, a process has one
 * connection to publish and one to consume for each broker.
 *
 * @throws {ConnectionFailedError} the broker cannot be reached in time, or refuses the login or virtual host; a function
 * that tells the broker or the credentials fails until then; or the ledger store does not work.
 * @throws {InvalidValueError} a URL or an option is wrong.
 * @example
 * ```ts
 * import { createConnection } from "@warren/runtime";
 *
 * await using connection = await createConnection("memory:example");
 * await connection.notify("example.start", { at: 1 });
 * ```
 */
export async function createConnection(
  url: BrokerUrls,
  options: ConnectionOptions = {},
): Promise<ConnectionContext> {
  checkConnectionNames(options);
  return await connect(url, options);
}

/** The same for what has been looked at: it may have the options of a service too. */
export async function connect(
  url: BrokerUrls,
  options: ConnectionOptions,
): Promise<ConnectionContext> {
  return createContext(await lease(url, options));
}

/** The parts of a connection: its channels are given back when that is disposed. */
export async function lease(
  url: BrokerUrls,
  options: ConnectionOptions,
): Promise<ConnectionParts> {
  const { pooled = false, timeout = 60_000, signal } = options;
  const { queueType = "classic", grace = 30_000, heartbeat = 10 } = options;
  const { maxMessageSize = defaultLimits.bytes, concurrency = 64 } = options;
  const { prefetch = concurrency } = options;
  checkInteger("maxMessageSize", maxMessageSize, 1, 512 * 1024 * 1024);
  checkInteger("concurrency", concurrency, 1, 65_535);
  checkInteger("prefetch", prefetch, 1, 65_535);
  checkInteger("heartbeat", heartbeat, 0, 65_535);
  if (grace !== 0) checkDuration("grace", grace);
  const wait = {
    at: performance.now() + checkDuration("timeout", timeout),
    signal,
  };
  const where = typeof url === "function" ? url : parseUrls(url);
  checkCredentials(options.credentials);
  const profile = busProfile(options.profile, queueType);
  const limits: Limits = {
    ...defaultLimits,
    bytes: maxMessageSize,
    python: profile.nova !== undefined,
  };
  const dialect = dialectOf(options.dialect);
  const ledger = checkLedger(options.ledger);
  await probeLedger(options);
  const { pool, inbox } = sharedTransport(
    transportKey(where, options, profile),
    () => createTransport(where, options, profile),
    limits,
  );
  const session = await pool.acquire(pooled, wait);
  return {
    session,
    inbox,
    transport: pool.transport,
    dialect,
    legacyPeers: legacyPeersOf(dialect, profile),
    limits,
    errors: options.errors ?? {},
    waitForRoute: options.waitForRoute ?? false,
    concurrency,
    prefetch,
    tracebacks: options.tracebacks ?? false,
    grace,
    notifications: checkNotificationSettings(options.notifications),
    openstack: profile.nova !== undefined,
    ledger,
    consumerTimeout: consumerTimeoutOf(options),
    longRunning: checkDuration(
      "longRunning",
      options.longRunning ?? LONG_RUNNING,
    ),
    publisherId: options.publisherId ?? "warren",
    release: (reusable) => pool.release(session, pooled, reusable),
    watch: (watcher) => pool.transport.onEvent(watcher),
    health: () => pool.transport.health(),
  };
}

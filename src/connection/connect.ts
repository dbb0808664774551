/** From a URL to a connection: the one place that picks a concrete transport. @module */
import { logger } from "../logging.ts";
import { sharedBus } from "../transport/memory/bus.ts";
import { MemoryTransport } from "../transport/memory/transport.ts";
import { RabbitTransport } from "../transport/rabbitmq/transport.ts";
import type { BusProfile } from "../transport/profile.ts";
import type { Transport } from "../transport/transport.ts";
import { probeLedger } from "../ledger/options.ts";
import { askedCredentials, askedUrls } from "./asked_login.ts";
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
import { checkConnectionNames } from "./option_names.ts";
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
    askedCredentials(options.credentials);
  const rabbit = { credentials, tls, heartbeat, name, profile };
  if (typeof where === "function") {
    return new RabbitTransport({
      ...rabbit,
      urls: askedUrls(where, warnOpen()),
    });
  }
  const [first] = where;
  if (first?.protocol === "memory:") {
    return new MemoryTransport(profile, sharedBus(busName(first)));
  }
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
 * @category Connections
 */
export async function createConnection(
  url: BrokerUrls,
  options: ConnectionOptions = {},
): Promise<ConnectionContext> {
  checkConnectionNames(options);
  return await connect(url, options);
}

/** As `createConnection`, for options whose names were checked: they may be those of a service too. */
export async function connect(
  url: BrokerUrls,
  options: ConnectionOptions,
): Promise<ConnectionContext> {
  return createContext(
    await openConnection(url, checkConnectionOptions(options)),
  );
}

/**
 * Connects, or joins the process's connection to the broker, and leases channels there.
 *
 * @throws {ConnectionFailedError} as `createConnection`.
 * @throws {InvalidValueError} the URL is wrong.
 */
export async function openConnection(
  url: BrokerUrls,
  checked: CheckedOptions,
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
  const session = await pool.acquire(pooled, deadline);
  const release = (reusable: boolean) =>
    pool.release(session, pooled, reusable);
  const { transport } = pool;
  return {
    resources: { session, inbox, transport, release },
    messages,
    server,
    notifications: checked.notifications,
  };
}

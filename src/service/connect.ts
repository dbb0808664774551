/** From a URL to a connection: the one place that picks concrete parts. @module */
import { MemoryLink } from "../bus/memory.ts";
import { Leases, type PoolOptions } from "../bus/pool.ts";
import { RabbitLink } from "../bus/rabbitmq/link.ts";
import { routes } from "../bus/routes.ts";
import type { Link } from "../bus/transport.ts";
import { type ConnectionContext, connectionOf } from "../rpc/connection.ts";
import { Inbox } from "../rpc/inbox.ts";
import { duration } from "../rpc/options.ts";
import { defaultLimits, type Limits } from "../wire/codec.ts";
import { folsom } from "../wire/folsom.ts";
import {
  type BrokerUrl,
  type ConnectionOptions,
  count,
  parseUrls,
} from "./connection_options.ts";

/** A link of this process, with what is shared by all who use it. */
interface Shared {
  readonly leases: Leases;
  readonly inbox: Inbox;
}

const links = new Map<string, Shared>();

/** The bounds of every link's pool. */
const pool: PoolOptions = { size: 30, idle: 60_000 };

/** The bus of a memory URL: `memory:name` and `memory://name` are one. */
const busName = (url: URL) => url.host || url.pathname.replace(/^\/+/, "");

function makeLink(
  urls: readonly URL[],
  { tls, heartbeat, publisherId: name }: ConnectionOptions,
): Link {
  return urls[0]?.protocol === "memory:"
    ? new MemoryLink()
    : new RabbitLink({ urls, tls, heartbeat, name });
}

function keyOf(
  urls: readonly URL[],
  { tls, heartbeat, maxMessageSize }: ConnectionOptions,
): string {
  const [first] = urls;
  if (first?.protocol === "memory:") return `memory:${busName(first)}`;
  return JSON.stringify([
    urls.map(String).sort(),
    tls,
    heartbeat,
    maxMessageSize,
  ]);
}

function shared(
  urls: readonly URL[],
  options: ConnectionOptions,
  limits: Limits,
): Shared {
  const key = keyOf(urls, options);
  const known = links.get(key);
  if (known) return known;
  const link = makeLink(urls, options);
  const made: Shared = {
    leases: new Leases(link, () => {
      if (links.get(key) === made) links.delete(key);
    }, pool),
    inbox: new Inbox(link, limits),
  };
  links.set(key, made);
  return made;
}

/**
 * Connects to a broker, or joins the process's connection to it: however many contexts there are, a process has one
 * connection to publish and one to consume for each broker.
 *
 * @throws {ConnectionFailedError} the broker cannot be reached in time, or refuses the login or virtual host.
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
  url: BrokerUrl,
  options: ConnectionOptions = {},
): Promise<ConnectionContext> {
  const {
    pooled = false,
    timeout = 60_000,
    signal,
    queueType = "classic",
    maxMessageSize = defaultLimits.bytes,
  } = options;
  const limits: Limits = { ...defaultLimits, bytes: maxMessageSize };
  const concurrency = count("concurrency", options.concurrency ?? 64);
  const prefetch = count("prefetch", options.prefetch ?? concurrency);
  const wait = {
    deadline: performance.now() + duration("timeout", timeout),
    signal,
  };
  const { leases, inbox } = shared(parseUrls(url), options, limits);
  const transport = await leases.acquire(pooled, wait);
  return connectionOf({
    transport,
    inbox,
    routes: routes({ exchange: "warren", durable: true, queueType }),
    dialect: folsom,
    limits,
    errors: options.errors ?? {},
    waitForRoute: options.waitForRoute ?? false,
    concurrency,
    prefetch,
    tracebacks: options.tracebacks ?? false,
    grace: options.grace ?? 30_000,
    publisherId: options.publisherId ?? "warren",
    release: (reusable) => leases.release(transport, pooled, reusable),
    watch: (watcher) => leases.link.watch(watcher),
  });
}

/** Closes all that is idle in the pools of this process (Nova: `rpc.cleanup`); what is in use stays. */
export async function cleanup(): Promise<void> {
  await Promise.all([...links.values()].map(({ leases }) => leases.cleanup()));
}

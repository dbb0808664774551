/** URLs and options of a connection, and the checks of URLs. @module */
import { type ErrorClass, InvalidValueError } from "../errors.ts";
import type { Credentials, TlsOptions } from "../transport/credentials.ts";
import type { LedgerStore } from "../ledger/ledger_store.ts";
import type { DeadLetterListener } from "../rpc/letters/dead_letter_listener.ts";
import type { NotificationSettings } from "../rpc/notifications/drivers.ts";
import { brokerUrls } from "./broker_url.ts";
import type { NovaProfile } from "./bus_profile.ts";

/**
 * URL of a broker, or URLs of the nodes of a cluster: `amqp://user:password@host:5672/vhost`, `amqps://…`,
 * `memory:name`; or in the form of oslo.messaging, `rabbit://user:password@host1:5672,user:password@host2:5672/vhost`.
 * @category Connections
 */
export type BrokerUrl = string | URL | readonly (string | URL)[];

/**
 * Returns the URLs of the broker; called for each attempt to connect. It must not return a `memory:` URL. After 10 000
 * ms its signal fires, and the attempt fails. Connections with the same function share a transport.
 * @category Connections
 */
export type AskedUrls = (signal: AbortSignal) => BrokerUrl | Promise<BrokerUrl>;

/**
 * URLs of the broker, or a function that returns them.
 * @category Connections
 */
export type BrokerUrls = BrokerUrl | AskedUrls;

/**
 * Returns the credentials for the login; called for each attempt to connect, and before the credentials of an open connection
 * expire. After 10 000 ms its signal fires, and the attempt fails. Connections with the same function share a transport.
 *
 * @example
 * ```ts
 * import { type AskedCredentials, createConnection } from "@warren/runtime";
 *
 * const file = "/run/secrets/amqp"; // another program writes new passwords to it
 * const credentials: AskedCredentials = async (signal) => ({
 *   username: "compute",
 *   password: (await Deno.readTextFile(file, { signal })).trim(),
 * });
 * await using connection = await createConnection("memory:doc", { credentials });
 * ```
 * @category Connections
 */
export type AskedCredentials = (
  signal: AbortSignal,
) => Credentials | Promise<Credentials>;

/**
 * Options of a connection.
 * @category Connections
 */
export interface ConnectionOptions {
  /** True to take channels from a pool; default false: the connection opens its own channels, and closes them. */
  readonly pooled?: boolean | undefined;
  /** Milliseconds after which an attempt to connect fails; default 60 000. */
  readonly timeout?: number | undefined;
  /** Aborts connecting. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Names and flags on the broker: `warren` (default); `nova`, as OpenStack declares them by default, with the exchange `nova`;
   * or an object with the variants in which a cloud differs from `nova`.
   */
  readonly profile?: "warren" | "nova" | NovaProfile | undefined;
  /**
   * Dialect of requests and events. `grizzly` (default) is understood by servers of Folsom, Grizzly and oslo.messaging; `folsom`;
   * `oslo` has an envelope. A reply always has the dialect of its request.
   */
  readonly dialect?: "grizzly" | "folsom" | "oslo" | undefined;
  /**
   * Type of the queues that hold messages. With `auto`, the default, a queue that exists is used as it is, and a new one
   * is a `quorum` queue if several URLs were given, else `classic`. A queue that exists with another type than the
   * chosen one is used as it is too, with a warning. With an OpenStack profile, `auto` is `classic`, and a queue of
   * another type is refused.
   */
  readonly queueType?: "auto" | "classic" | "quorum" | undefined;
  /** True to wait until the deadline for a queue to exist, instead of throwing `NoRouteError` at once; default false. */
  readonly waitForRoute?: boolean | undefined;
  /** Error classes that errors of peers are restored to, by `module.Class`; a contract may list further classes. */
  readonly errors?: Readonly<Record<string, ErrorClass>> | undefined;
  /** Maximum number of handlers that run at once, over all consumers; default 64. */
  readonly concurrency?: number | undefined;
  /** Maximum number of unacknowledged requests of each consumer; default: `concurrency`. */
  readonly prefetch?: number | undefined;
  /** Maximum size of a message in bytes, sent or received; of a batch of replies, the maximum of each reply. Default 1 MiB. */
  readonly maxMessageSize?: number | undefined;
  /** True to send the stacks of handlers' errors to callers; default false. */
  readonly tracebacks?: boolean | undefined;
  /**
   * Called with each cast or event that this process has made a dead letter, after the broker has confirmed that. An error
   * of the function is logged. Default: none.
   */
  readonly onDeadLetter?: DeadLetterListener | undefined;
  /**
   * True to write the stack of the last error into a dead letter, without secrets and at most 4000 characters of it;
   * default false.
   */
  readonly deadLetterStacks?: boolean | undefined;
  /** Milliseconds that disposal waits for active requests; default 30 000. */
  readonly grace?: number | undefined;
  /**
   * Shared store of the requests that the workers of a topic run and have done, so that no request is recorded twice.
   * All workers of a topic need the same store. Default: each process remembers only its own requests.
   */
  readonly ledger?: LedgerStore | undefined;
  /**
   * Milliseconds after which the broker requeues an unacknowledged message (`consumer_timeout` in rabbitmq.conf);
   * default 1 800 000, which is RabbitMQ's. A procedure with a `maxDuration` of this time or more needs a `ledger`.
   */
  readonly consumerTimeout?: number | undefined;
  /**
   * Milliseconds after which a handler that still runs is reported in the log, in `stats.longRunning` and by `/readyz`,
   * which returns 503 while such handlers take up all of `concurrency`; default 600 000, `Infinity` = never. The
   * handler is not ended; the `maxDuration` of a procedure ends it.
   */
  readonly longRunning?: number | undefined;
  /**
   * Relation of the span in which a cast or an event is handled to that of its sender, for OpenTelemetry: `link`, the
   * default, begins a trace of its own with a link to the sender, since hours may lie between them; `child` continues the
   * sender's trace. A call always continues the trace of its caller.
   */
  readonly traceCasts?: "link" | "child" | undefined;
  /** Publisher of notifications as `service.host`; default `warren`. */
  readonly publisherId?: string | undefined;
  /** Drivers and topics of notifications. */
  readonly notifications?: NotificationSettings | undefined;
  /** Credentials that replace the user and the password of every URL; not called for `memory:`. */
  readonly credentials?: AskedCredentials | undefined;
  /** TLS options of `amqps:`. Certificates are always verified. */
  readonly tls?: TlsOptions | undefined;
  /** Seconds between heartbeats; default 10. A dead broker is detected within three heartbeats. */
  readonly heartbeat?: number | undefined;
}

/** Default of `longRunning`. */
export const DEFAULT_LONG_RUNNING_MS = 600_000;

/** True for the scheme of a broker; a URL of AMQP needs a host. */
function isBroker({ protocol, host }: URL): boolean {
  return protocol === "memory:" ||
    (["amqp:", "amqps:"].includes(protocol) && host !== "");
}

/** True if the percent-encoding of user and password can be decoded. */
function isDecodable({ username, password }: URL): boolean {
  try {
    decodeURIComponent(username + password);
    return true;
  } catch {
    return false;
  }
}

function parseUrl(url: string): URL {
  const parsed = URL.parse(url);
  if (parsed && isBroker(parsed) && isDecodable(parsed)) return parsed;
  // The message does not quote the URL, because even a malformed one may contain a password.
  const scheme = parsed ? ` with scheme ${parsed.protocol.slice(0, -1)}` : "";
  throw new InvalidValueError(
    `Invalid broker URL${scheme}: give amqp://user:password@host:port/vhost, amqps://… or memory:name, with the special characters of user and password as %xx`,
    { data: { path: "url" } },
  );
}

/**
 * Parses and checks the URLs of a broker.
 *
 * @throws {InvalidValueError} a URL is invalid. The message does not quote it, because it may contain a password.
 */
export function parseUrls(url: BrokerUrl): readonly URL[] {
  const texts = (Array.isArray(url) ? url : [url]).map(String);
  const urls = texts.flatMap(brokerUrls).map(parseUrl);
  const [first] = urls;
  const other = urls.find(({ protocol }) => protocol !== first?.protocol);
  if (first && other) {
    throw new InvalidValueError(
      `Invalid broker URLs: ${first.protocol} and ${other.protocol} in one list; give the nodes of one cluster, all with TLS (amqps:) or all without (amqp:)`,
      { data: { path: "url" } },
    );
  }
  if (!first || (first.protocol === "memory:" && urls.length > 1)) {
    throw new InvalidValueError(
      "Invalid broker URL: give one URL, or several of the nodes of one cluster",
      { data: { path: "url" } },
    );
  }
  return urls;
}

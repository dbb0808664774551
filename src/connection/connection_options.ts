/** How to connect: URLs and options, and what is checked of them. @module */
import { type ErrorClass, InvalidValueError } from "../errors.ts";
import type { Credentials, TlsOptions } from "../transport/transport.ts";
import type { LedgerStore } from "../ledger/ledger_store.ts";
import type { NotificationSettings } from "../rpc/notifications/drivers.ts";
import { brokerUrls } from "./broker_url.ts";
import type { NovaProfile } from "./bus_profile.ts";

/**
 * One broker, or the nodes of a cluster: `amqp://user:password@host:5672/vhost`, `amqps://…`, `memory:name`; or as
 * oslo.messaging has it, `rabbit://user:password@host1:5672,user:password@host2:5672/vhost`.
 * @category Connections
 */
export type BrokerUrl = string | URL | readonly (string | URL)[];

/**
 * Tells the broker, anew at each attempt to connect; `memory:` only as a text. It has 10 000 ms, then its signal fires and the
 * attempt has failed. Connections with the same function share a link.
 * @category Connections
 */
export type AskedUrls = (signal: AbortSignal) => BrokerUrl | Promise<BrokerUrl>;

/**
 * The broker, or who tells it.
 * @category Connections
 */
export type BrokerUrls = BrokerUrl | AskedUrls;

/**
 * Tells whom to log in as, anew at each attempt to connect, and before the credentials of an open connection expire. It has
 * 10 000 ms, then its signal fires and the attempt has failed. Connections with the same function share a link.
 *
 * @example
 * ```ts
 * import { type AskedCredentials, createConnection } from "@warren/runtime";
 *
 * const file = "/run/secrets/amqp"; // something else writes a new password to it
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
 * How to connect, and what holds for the connection.
 * @category Connections
 */
export interface ConnectionOptions {
  /** Takes its channels from a pool and gives them back; default false: channels of its own, closed with it. */
  readonly pooled?: boolean | undefined;
  /** Milliseconds until connecting is given up; default 60 000. */
  readonly timeout?: number | undefined;
  /** Gives up connecting sooner. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Whose bus it is: `warren` (default), or OpenStack's, `nova`: its names, its flags, its exchange `nova`; or the forms in
   * which a cloud differs from that.
   */
  readonly profile?: "warren" | "nova" | NovaProfile | undefined;
  /**
   * How requests and events are said. `grizzly` (default): as Folsom, Grizzly and oslo.messaging servers all answer;
   * `folsom`; `oslo`, in an envelope. Answers are always said as the request was.
   */
  readonly dialect?: "grizzly" | "folsom" | "oslo" | undefined;
  /** Queue type of topic and host queues; default `classic`. `quorum` for clusters. */
  readonly queueType?: "classic" | "quorum" | undefined;
  /** Wait until the deadline for a queue to appear, instead of `NoRouteError` at once; default false. */
  readonly waitForRoute?: boolean | undefined;
  /** Error classes that keep their identity over the wire, by `module.Class`; a contract may list more. */
  readonly errors?: Readonly<Record<string, ErrorClass>> | undefined;
  /** Handlers at once, over all consumers; default 64. */
  readonly concurrency?: number | undefined;
  /** Unacknowledged requests for each consumer; default: concurrency. */
  readonly prefetch?: number | undefined;
  /** Bytes of a message at most, sent or received; of answers that come together, of each. Default 1 MiB. */
  readonly maxMessageSize?: number | undefined;
  /** Whether callers see the stacks of errors that handlers throw; default false. */
  readonly tracebacks?: boolean | undefined;
  /** Milliseconds that disposal gives to requests in hand; default 30 000. */
  readonly grace?: number | undefined;
  /**
   * Where the workers of a fleet remember, together, what they have in hand and have done, so that no request is recorded
   * twice; default: each process remembers its own. All workers of a topic must have the same one.
   */
  readonly ledger?: LedgerStore | undefined;
  /**
   * Milliseconds that the broker leaves a message unacknowledged (`consumer_timeout` in rabbitmq.conf); default 1 800 000,
   * as RabbitMQ's. Procedures whose `maxDuration` is as long need a `ledger`.
   */
  readonly consumerTimeout?: number | undefined;
  /**
   * Milliseconds after which a handler that still runs is named: in the log, in `stats.longRunning` and by `/readyz`, which
   * says 503 while such handlers take all of `concurrency`; default 600 000, `Infinity` = never. It ends none: a
   * procedure's `maxDuration` does.
   */
  readonly longRunning?: number | undefined;
  /** Who sends notifications, `service.host`; default `warren`. */
  readonly publisherId?: string | undefined;
  /** Where events go, and how they are said. */
  readonly notifications?: NotificationSettings | undefined;
  /** In place of the user and the password of every URL; `memory:` needs none, and asks for none. */
  readonly credentials?: AskedCredentials | undefined;
  /** For `amqps:`. Certificates are always verified. */
  readonly tls?: TlsOptions | undefined;
  /** Seconds between heartbeats; default 10. A dead broker is noticed within three. */
  readonly heartbeat?: number | undefined;
}

/** Milliseconds after which a handler that still runs is logged, unless said otherwise. */
export const DEFAULT_LONG_RUNNING_MS = 600_000;

/** The schemes of brokers; a network's needs a host. */
function isBroker({ protocol, host }: URL): boolean {
  return protocol === "memory:" ||
    (["amqp:", "amqps:"].includes(protocol) && host !== "");
}

/** False where a part of it is not well encoded. */
function decodes({ username, password }: URL): boolean {
  try {
    decodeURIComponent(username + password);
    return true;
  } catch {
    return false;
  }
}

function parseUrl(url: string): URL {
  const parsed = URL.parse(url);
  if (parsed && isBroker(parsed) && decodes(parsed)) return parsed;
  // The URL itself is not shown: it may hold a password, even where it is malformed.
  const scheme = parsed ? ` with scheme ${parsed.protocol.slice(0, -1)}` : "";
  throw new InvalidValueError(
    `Invalid broker URL${scheme}: give amqp://user:password@host:port/vhost, amqps://… or memory:name, with the special characters of user and password as %xx`,
    { data: { path: "url" } },
  );
}

/**
 * The URLs of a broker.
 *
 * @throws {InvalidValueError} without the URL, which may hold a password.
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

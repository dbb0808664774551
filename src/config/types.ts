/** What a configuration is. @module */
import type { UNREAD } from "../connection/option_names.ts";
import type { TlsOptions } from "../transport/transport.ts";
import type { NovaProfile } from "../connection/bus_profile.ts";
import type {
  BrokerUrl,
  ConnectionOptions,
} from "../connection/connection_options.ts";

/** A level of the log, LogTape's words. */
export type LogLevel =
  | "trace"
  | "debug"
  | "info"
  | "warning"
  | "error"
  | "fatal";

/**
 * What `loadConfig` gives: validated and frozen. It goes as it is into `Service.start({ ...config, manager })` and
 * `createConnection(config.url, config)`. Printed, it hides its secrets.
 */
export interface Config {
  /** One broker, or the nodes of a cluster. `AMQP_URL`, with commas between; default `amqp://localhost`. */
  readonly url: readonly string[];
  /** Name of this host. `WARREN_HOST`; default: the machine's name. */
  readonly host: string | undefined;
  /** Handlers at once. `WARREN_CONCURRENCY`; default 64. */
  readonly concurrency: number;
  /** Unacknowledged requests for each consumer. `WARREN_PREFETCH`; default: as concurrency. */
  readonly prefetch: number | undefined;
  /** Whose bus it is. `WARREN_PROFILE`; default `warren`. */
  readonly profile: "warren" | "nova" | NovaProfile;
  /** How requests are said. `WARREN_DIALECT`; default `grizzly`. */
  readonly dialect: "grizzly" | "folsom" | "oslo";
  /** Queue type of topic and host queues. `WARREN_QUEUE_TYPE`; default `classic`. */
  readonly queueType: "classic" | "quorum";
  /** Milliseconds until connecting is given up. `WARREN_TIMEOUT`; default 60 000. */
  readonly timeout: number;
  /** Milliseconds that a stop gives to requests in hand. `WARREN_GRACE`; default 30 000. */
  readonly grace: number;
  /** Seconds between heartbeats. `WARREN_HEARTBEAT`; default 10. */
  readonly heartbeat: number;
  /** Milliseconds that the broker leaves a message unacknowledged. `WARREN_CONSUMER_TIMEOUT`; default 1 800 000. */
  readonly consumerTimeout: number;
  /** Milliseconds after which a handler that still runs is named. `WARREN_LONG_RUNNING`; default 600 000. */
  readonly longRunning: number;
  /** Bytes of a message at most. `WARREN_MAX_MESSAGE_SIZE`; default 1 MiB. */
  readonly maxMessageSize: number;
  /** Whether callers see the stacks of errors. `WARREN_TRACEBACKS`; default false. */
  readonly tracebacks: boolean;
  /** Wait for a queue to appear. `WARREN_WAIT_FOR_ROUTE`; default false. */
  readonly waitForRoute: boolean;
  /** Channels from a pool. `WARREN_POOLED`; default false. */
  readonly pooled: boolean;
  /** Drain on SIGINT and SIGTERM. `WARREN_SIGNALS`; default true. */
  readonly signals: boolean;
  /** Who sends notifications. `WARREN_PUBLISHER_ID`; default: the service's own name. */
  readonly publisherId: string | undefined;
  /** Milliseconds between two reports of a service, 0 = none. `WARREN_REPORT_INTERVAL`; default 10 000. */
  readonly reportInterval: number;
  /** Name of the program in its reports. `WARREN_BINARY`; default: the service's first topic. */
  readonly binary: string | undefined;
  /** Where it runs, in its reports. `WARREN_ZONE`. */
  readonly zone: string | undefined;
  /** Port for `/livez` and `/readyz`. `WARREN_HEALTH_PORT`; default: none. */
  readonly healthPort: number | undefined;
  /** Address of that port. `WARREN_HEALTH_HOSTNAME`; default `127.0.0.1`: for probes from outside, give `0.0.0.0`. */
  readonly healthHostname: string;
  /**
   * Milliseconds in place of a periodic task's `every`, by its name. `WARREN_TASK_INTERVALS`, `name=milliseconds` with commas
   * between.
   */
  readonly taskIntervals: Readonly<Record<string, number>>;
  /** For `amqps:`. `WARREN_TLS_CA`, `_CERT`, `_KEY` are PEM or the path of a file with it; `WARREN_TLS_SERVERNAME`. */
  readonly tls: TlsOptions | undefined;
  /** For your set-up of the log; Warren itself sets up none. `WARREN_LOG_LEVEL`; default `info`. */
  readonly logLevel: LogLevel;
}

/** The values one by one: what is nested has a path. */
export type Flat =
  & Omit<Config, "tls">
  & { readonly [K in `tls.${keyof TlsOptions}`]: string | undefined };

/** The path of a value. */
export type Key = keyof Flat;

/** What the program itself says: it comes before the environment and the file. */
export interface ConfigOptions extends
  Readonly<
    Partial<{ [K in Exclude<keyof Config, "url">]: Config[K] | undefined }>
  > {
  /** One broker, or the nodes of a cluster. */
  readonly url?: BrokerUrl | undefined;
  /** Path of the JSON file, in place of the one that `WARREN_CONFIG` names. */
  readonly file?: string | undefined;
}

/** Connections and services take a configuration as it is: the compiler refuses a key that neither of them knows. */
type Unknown = Exclude<
  keyof Config,
  keyof ConnectionOptions | (typeof UNREAD)[number]
>;
const _known: [Unknown] extends [never] ? true : Unknown = true;

/** Types of the configuration. @module */
import type { IGNORED_NAMES } from "../connection/option_names.ts";
import type { TlsOptions } from "../transport/credentials.ts";
import type { NovaProfile } from "../connection/bus_profile.ts";
import type {
  BrokerUrl,
  ConnectionOptions,
} from "../connection/connection_options.ts";

/**
 * Level of the log, named as LogTape names it.
 * @category Configuration
 */
export type LogLevel =
  | "trace"
  | "debug"
  | "info"
  | "warning"
  | "error"
  | "fatal";

/**
 * Validated and frozen configuration that `loadConfig` returns, for `Service.start({ ...config, manager })` and
 * `createConnection(config.url, config)`, or `createConnection({ cells: config.cells, route }, config)`. Printing it hides its secrets.
 * @category Configuration
 */
export interface Config {
  /** URL of the broker, or of each node of a cluster. `AMQP_URL`, separated by commas; default `amqp://localhost`. */
  readonly url: readonly string[];
  /**
   * URLs of the brokers of all cells, by the names of the cells. `WARREN_CELLS`, as `name=url,url`, separated by spaces;
   * default: none.
   */
  readonly cells: Readonly<Record<string, readonly string[]>>;
  /**
   * Name of the cell of this process; `url` is then that of the cell in `cells`, unless there are none. `WARREN_CELL`;
   * default: none.
   */
  readonly cell: string | undefined;
  /** Name of this host. `WARREN_HOST`; default: the machine's name. */
  readonly host: string | undefined;
  /** Handlers that run at the same time. `WARREN_CONCURRENCY`; default 64. */
  readonly concurrency: number;
  /** Unacknowledged requests of each consumer. `WARREN_PREFETCH`; default: the value of `concurrency`. */
  readonly prefetch: number | undefined;
  /** Naming of exchanges and queues: Warren's or Nova's. `WARREN_PROFILE`; default `warren`. */
  readonly profile: "warren" | "nova" | NovaProfile;
  /** Message format of requests. `WARREN_DIALECT`; default `grizzly`. */
  readonly dialect: "grizzly" | "folsom" | "oslo";
  /** Type of the queues that hold messages; `auto` uses existing queues as they are. `WARREN_QUEUE_TYPE`; default `auto`. */
  readonly queueType: "auto" | "classic" | "quorum";
  /** Milliseconds after which connecting fails. `WARREN_TIMEOUT`; default 60 000. */
  readonly timeout: number;
  /** Milliseconds for active requests to finish when a service stops. `WARREN_GRACE`; default 30 000. */
  readonly grace: number;
  /** Seconds between AMQP heartbeats. `WARREN_HEARTBEAT`; default 10. */
  readonly heartbeat: number;
  /** Milliseconds that the broker allows a message to stay unacknowledged. `WARREN_CONSUMER_TIMEOUT`; default 1 800 000. */
  readonly consumerTimeout: number;
  /** Milliseconds after which a handler that still runs is reported. `WARREN_LONG_RUNNING`; default 600 000. */
  readonly longRunning: number;
  /** Maximum size of a message in bytes. `WARREN_MAX_MESSAGE_SIZE`; default 1 MiB. */
  readonly maxMessageSize: number;
  /** True to send the stacks of errors to callers. `WARREN_TRACEBACKS`; default false. */
  readonly tracebacks: boolean;
  /** True to keep the stacks of errors in dead letters. `WARREN_DEAD_LETTER_STACKS`; default false. */
  readonly deadLetterStacks: boolean;
  /** Relation of the span of a cast or an event to its sender's. `WARREN_TRACE_CASTS`; default `link`. */
  readonly traceCasts: "link" | "child";
  /** True to wait until the queue of a call exists. `WARREN_WAIT_FOR_ROUTE`; default false. */
  readonly waitForRoute: boolean;
  /** True to take channels from a pool. `WARREN_POOLED`; default false. */
  readonly pooled: boolean;
  /** True to drain on SIGINT and SIGTERM. `WARREN_SIGNALS`; default true. */
  readonly signals: boolean;
  /** True to take the commands of operators. `WARREN_REMOTE_CONTROL`; default false. */
  readonly remoteControl: boolean;
  /** Name of the sender in notifications. `WARREN_PUBLISHER_ID`; default: `<topic>.<host>` of the service. */
  readonly publisherId: string | undefined;
  /** Milliseconds between two reports of a service; 0 = no reports. `WARREN_REPORT_INTERVAL`; default 10 000. */
  readonly reportInterval: number;
  /** Name of the program in its reports. `WARREN_BINARY`; default: the first topic of the service. */
  readonly binary: string | undefined;
  /** Availability zone in the reports of a service. `WARREN_ZONE`; default: none. */
  readonly zone: string | undefined;
  /** TCP port for `/livez` and `/readyz`. `WARREN_HEALTH_PORT`; default: none. */
  readonly healthPort: number | undefined;
  /**
   * Address of the health port. `WARREN_HEALTH_HOSTNAME`; default `127.0.0.1`. Probes from other machines need `0.0.0.0`.
   */
  readonly healthHostname: string;
  /**
   * Milliseconds that replace `every` of a periodic task, by the name of the task. `WARREN_TASK_INTERVALS`, as
   * `name=milliseconds`, separated by commas.
   */
  readonly taskIntervals: Readonly<Record<string, number>>;
  /**
   * TLS settings for `amqps:`. `WARREN_TLS_CA`, `_CERT` and `_KEY`: PEM or the path of a PEM file; `WARREN_TLS_SERVERNAME`.
   */
  readonly tls: TlsOptions | undefined;
  /** Log level for your LogTape configuration; Warren itself does not apply it. `WARREN_LOG_LEVEL`; default `info`. */
  readonly logLevel: LogLevel;
}

/** Configuration without nesting: members of `tls` have keys such as `tls.ca`. */
export type Flat =
  & Omit<Config, "tls">
  & { readonly [K in `tls.${keyof TlsOptions}`]: string | undefined };

/** Key of a value, such as `concurrency` or `tls.ca`. */
export type Key = keyof Flat;

/**
 * Values that the program sets itself. They take precedence over the environment and the file.
 * @category Configuration
 */
export interface ConfigOptions extends
  Readonly<
    Partial<{ [K in Exclude<keyof Config, "url">]: Config[K] | undefined }>
  > {
  /** URL of the broker, or of each node of a cluster. */
  readonly url?: BrokerUrl | undefined;
  /** Path of the JSON file; replaces `WARREN_CONFIG`. */
  readonly file?: string | undefined;
}

/** Keys that neither connections nor services accept. There must be none, since a configuration can be passed to both. */
type Unknown = Exclude<
  keyof Config,
  keyof ConnectionOptions | (typeof IGNORED_NAMES)[number]
>;
const _known: [Unknown] extends [never] ? true : Unknown = true;

/** The options of connections: which names there are. @module */
import type { TlsOptions } from "../transport/transport.ts";
import { checkNames, namesOf, type OptionNames } from "../option_names.ts";
import type { ConnectionOptions } from "./connection_options.ts";

/**
 * Names of a configuration that a connection does not read: one record of options may be given to connections and services
 * alike.
 */
export const UNREAD = [
  "url",
  "host",
  "signals",
  "reportInterval",
  "binary",
  "zone",
  "healthPort",
  "healthHostname",
  "taskIntervals",
  "logLevel",
] as const;

/** Names of {@linkcode ConnectionOptions}, and those of a configuration. */
export const connectionNames: OptionNames = namesOf<ConnectionOptions>({
  concurrency: true,
  prefetch: true,
  profile: true,
  dialect: true,
  queueType: true,
  timeout: true,
  grace: true,
  heartbeat: true,
  consumerTimeout: true,
  longRunning: true,
  maxMessageSize: true,
  tracebacks: true,
  waitForRoute: true,
  pooled: true,
  publisherId: true,
  tls: true,
  signal: true,
  credentials: true,
  errors: true,
  ledger: true,
  notifications: true,
}, new Set(UNREAD));

const tls = namesOf<TlsOptions>({
  ca: true,
  cert: true,
  key: true,
  servername: true,
});

/**
 * Refuses names that no option of a connection has.
 *
 * @throws {InvalidValueError} naming the option.
 */
export function checkConnectionNames(options: ConnectionOptions): void {
  checkNames(options, connectionNames);
  checkTlsNames(options);
}

/**
 * Refuses names that no option of TLS has.
 *
 * @throws {InvalidValueError} naming the option.
 */
export function checkTlsNames({ tls: given }: ConnectionOptions): void {
  if (given !== undefined) checkNames(given, tls, "tls.");
}

/** Names of the options of connections. @module */
import type { TlsOptions } from "../transport/credentials.ts";
import { checkNames, namesOf, type OptionNames } from "../option_names.ts";
import type { ConnectionOptions } from "./connection_options.ts";

/**
 * Names that a connection accepts and ignores, because the same configuration may be passed to connections and
 * services.
 */
export const IGNORED_NAMES = [
  "url",
  "cells",
  "cell",
  "host",
  "signals",
  "remoteControl",
  "reportInterval",
  "binary",
  "zone",
  "healthPort",
  "healthHostname",
  "taskIntervals",
  "logLevel",
] as const;

/** Names of {@linkcode ConnectionOptions}, and the ignored ones of a configuration. */
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
  traceCasts: true,
  onDeadLetter: true,
  deadLetterStacks: true,
  waitForRoute: true,
  pooled: true,
  publisherId: true,
  tls: true,
  signal: true,
  credentials: true,
  errors: true,
  ledger: true,
  notifications: true,
}, new Set(IGNORED_NAMES));

const tls = namesOf<TlsOptions>({
  ca: true,
  cert: true,
  key: true,
  servername: true,
});

/**
 * Rejects options with an unknown name.
 *
 * @throws {InvalidValueError} an option is unknown; the message names it.
 */
export function checkConnectionNames(options: ConnectionOptions): void {
  checkNames(options, connectionNames);
  checkTlsNames(options);
}

/**
 * Rejects TLS options with an unknown name.
 *
 * @throws {InvalidValueError} an option is unknown; the message names it.
 */
export function checkTlsNames({ tls: given }: ConnectionOptions): void {
  if (given !== undefined) checkNames(given, tls, "tls.");
}

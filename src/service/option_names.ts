/** The options of connections and services: which names there are. @module */
import type { TlsOptions } from "../bus/transport.ts";
import { checkNames, namesOf } from "../rpc/option_names.ts";
import type { Config } from "./config_types.ts";
import type { ConnectionOptions } from "./connection_options.ts";
import { checkOptions, type ServiceOptions } from "./service_options.ts";

/** The names of a configuration, which goes as it is to connections and to services. */
const config = namesOf<Config>({
  url: true,
  host: true,
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
  signals: true,
  publisherId: true,
  reportInterval: true,
  binary: true,
  zone: true,
  healthPort: true,
  healthHostname: true,
  spacing: true,
  tls: true,
  logLevel: true,
});

const connection = namesOf<Omit<ConnectionOptions, keyof Config>>({
  signal: true,
  credentials: true,
  errors: true,
  ledger: true,
  notifications: true,
}, config);

const service = namesOf<
  Omit<ServiceOptions, keyof Config | keyof ConnectionOptions>
>({
  manager: true,
  wrap: true,
  baseApi: true,
  fronts: true,
  store: true,
  hostExpiry: true,
  version: true,
}, connection);

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
  checkNames(options, connection);
  if (options.tls !== undefined) checkNames(options.tls, tls, "tls.");
}

/**
 * Checks what a service is told.
 *
 * @throws {InvalidValueError} naming the option.
 */
export function checkServiceOptions(options: ServiceOptions): void {
  checkNames(options, service);
  checkOptions(options);
  if (options.tls !== undefined) checkNames(options.tls, tls, "tls.");
}

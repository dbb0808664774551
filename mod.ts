/**
 * Warren: a worker runtime and RPC system for Deno on RabbitMQ.
 *
 * A {@linkcode contract} is shared by callers and workers. A {@linkcode Manager} has its methods; a
 * {@linkcode Service} serves it on three queues: any worker of a topic, one host, all workers. A
 * {@linkcode ConnectionContext} has the verbs: `call`, `cast`, `fanoutCast`, `multicall`, `notify`.
 *
 * @example
 * ```ts
 * import { z } from "npm:zod@4";
 * import { contract, createConnection, implement, Service } from "@warren/runtime";
 *
 * const compute = contract({
 *   topic: "compute",
 *   version: "1.0",
 *   procedures: { square: { args: z.object({ x: z.number() }), result: z.number() } },
 * });
 * const manager = implement(compute, { square: ({ x }) => x * x });
 * await using _service = await Service.start({ url: "memory:doc", host: "gb07", manager });
 * await using connection = await createConnection("memory:doc");
 * console.log(await connection.client(compute).call("square", { x: 12 })); // 144
 * ```
 *
 * @module
 */
export {
  BlockedError,
  ConnectionDisposedError,
  ConnectionFailedError,
  InvalidValueError,
  NoRouteError,
  NoSuchMethodError,
  RejectedError,
  RemoteError,
  RpcError,
  StreamInterruptedError,
  TimeoutError,
  TopologyError,
  UnconfirmedError,
  UnsupportedVersionError,
} from "./src/errors.ts";
export { ConnectionContext } from "./src/rpc/connection.ts";
export { requestContext } from "./src/rpc/context.ts";
export { contract } from "./src/rpc/define.ts";
export { RpcDispatcher } from "./src/rpc/dispatcher.ts";
export { loadConfig } from "./src/service/config.ts";
export { describeConfig } from "./src/service/config_describe.ts";
export { watchConfig } from "./src/service/config_watch.ts";
export { createConnection } from "./src/service/connect.ts";
export { cleanup } from "./src/service/links.ts";
export { memoryLedgerStore } from "./src/service/memory_ledger.ts";
export { postgresLedgerStore } from "./src/service/postgres_ledger.ts";
export { memoryServiceStore } from "./src/service/memory_store.ts";
export { sqliteServiceStore } from "./src/service/sqlite_store.ts";
export { launch } from "./src/service/launcher.ts";
export {
  implement,
  inheritedTasks,
  Manager,
  runPeriodicTasks,
  SchedulerDependentManager,
} from "./src/service/manager.ts";
export { Leadership } from "./src/rpc/leadership.ts";
export { Service } from "./src/service/service.ts";
export { notified } from "./src/rpc/notified.ts";
export { publisherId } from "./src/rpc/notifications.ts";
export { testNotifier } from "./src/rpc/notification_drivers.ts";
export { queueFor } from "./src/bus/routes.ts";

export type {
  ErrorClass,
  Failure,
  RpcErrorCode,
  RpcErrorOptions,
} from "./src/errors.ts";
export type { ConsumerOptions } from "./src/rpc/consuming.ts";
export type { AnyArgs } from "./src/rpc/connection.ts";
export type {
  ConnectionEventMap,
  ConnectionEvents,
} from "./src/rpc/connection_events.ts";
export type { Client, ClientOptions, Rest } from "./src/rpc/client.ts";
export type { ContextValues, RequestContext } from "./src/rpc/context.ts";
export type * from "./src/rpc/contract.ts";
export type * from "./src/rpc/travels.ts";
export type { Dispatcher } from "./src/rpc/dispatcher.ts";
export type {
  Handled,
  ListenerOptions,
  NotificationHandler,
} from "./src/rpc/listener.ts";
export type {
  NotificationDriver,
  NotificationSettings,
  TestNotifier,
} from "./src/rpc/notification_drivers.ts";
export type { NotifiedOptions } from "./src/rpc/notified.ts";
export type { NotifyOptions } from "./src/rpc/notifications.ts";
export type { Priority } from "./src/rpc/priority.ts";
export type {
  CallOptions,
  CastOptions,
  SendOptions,
  Target,
} from "./src/rpc/options.ts";
export type {
  Input,
  Output,
  Schema,
  SchemaIssue,
  SchemaResult,
} from "./src/rpc/schema.ts";
export type { ServicesOptions } from "./src/rpc/discovery.ts";
export type {
  Claim,
  Claimed,
  KeptRequest,
  LedgerOptions,
  LedgerStore,
} from "./src/rpc/ledger_store.ts";
export type { LatencyStats } from "./src/rpc/latency.ts";
export type {
  LongRunningHandler,
  LongRunningStats,
} from "./src/rpc/long_running.ts";
export type { Inquiry, ServiceFilter } from "./src/rpc/service_contract.ts";
export type * from "./src/rpc/service_report.ts";
export type { ServerStats } from "./src/rpc/server_stats.ts";
export type {
  Config,
  ConfigOptions,
  LogLevel,
} from "./src/service/config_types.ts";
export type {
  ConfigReload,
  ConfigWatcher,
  Following,
  WatchConfigOptions,
} from "./src/service/config_watch.ts";
export type {
  AskedCredentials,
  AskedUrls,
  BrokerUrl,
  BrokerUrls,
  ConnectionOptions,
} from "./src/service/connection_options.ts";
export type {
  PostgresLedgerOptions,
  Queryable,
} from "./src/service/postgres_ledger.ts";
export type { NovaProfile } from "./src/service/profiles.ts";
export type { ArgumentValues, QueueArguments } from "./src/bus/profile.ts";
export type {
  ConsumingHealth,
  Credentials,
  LinkHealth,
  SideHealth,
  SideState,
  TlsOptions,
} from "./src/bus/transport.ts";
export type { LaunchOptions } from "./src/service/launcher.ts";
export type {
  Capabilities,
  HostEnvironment,
  Implementation,
  ImplementOptions,
  Serves,
} from "./src/service/manager.ts";
export type { PeriodicTask, TaskState } from "./src/service/periodic_task.ts";
export type {
  Front,
  Managers,
  ServiceOptions,
  Serving,
} from "./src/service/service_options.ts";
export type { Notification } from "./src/wire/envelope.ts";

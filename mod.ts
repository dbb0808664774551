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
  InterruptedError,
  InvalidResultError,
  InvalidValueError,
  NoRouteError,
  NoSuchMethodError,
  RejectedError,
  RemoteError,
  RequestConflictError,
  RpcError,
  TimeoutError,
  TopologyError,
  UnconfirmedError,
  UnsupportedVersionError,
} from "./src/errors.ts";
export {
  CancelledError,
  ControlRefusedError,
  PausedError,
} from "./src/operator_errors.ts";
export { operations } from "./src/operations/operations.ts";
export { ConnectionContext } from "./src/connection/connection_context.ts";
export { CellsConnection } from "./src/cells/cells_connection.ts";
export { local } from "./src/contract/locals.ts";
export { requestContext } from "./src/contract/request_context.ts";
export { contract } from "./src/contract/contract.ts";
export { events } from "./src/contract/events.ts";
export { RpcDispatcher } from "./src/rpc/dispatch/dispatcher.ts";
export { loadConfig } from "./src/config/load_config.ts";
export { describeConfig } from "./src/config/describe_config.ts";
export { watchConfig } from "./src/config/watch_config.ts";
export { createConnection } from "./src/cells/create_connection.ts";
export { cleanup } from "./src/connection/transport_registry.ts";
export { memoryLedgerStore } from "./src/ledger/memory_ledger.ts";
export { postgresLedgerStore } from "./src/ledger/postgres_ledger.ts";
export { memoryServiceStore } from "./src/service/registry/stores.ts";
export { sqliteServiceStore } from "./src/service/registry/stores.ts";
export { launch } from "./src/service/process/launcher.ts";
export {
  implement,
  inheritedTasks,
  Manager,
  runPeriodicTasks,
  SchedulerDependentManager,
} from "./src/service/manager.ts";
export { Leadership } from "./src/rpc/leader_election.ts";
export { Service } from "./src/service/service.ts";
export { withNotifications } from "./src/rpc/notifications/with_notifications.ts";
export { publisherId } from "./src/rpc/notifications/notifier.ts";
export { testNotifier } from "./src/rpc/notifications/drivers.ts";
export { queueFor } from "./src/transport/address.ts";

export type {
  ErrorClass,
  Failure,
  RpcErrorCode,
  RpcErrorOptions,
} from "./src/errors.ts";
export type {
  CancelOutcome,
  Operator,
  Pause,
  PausedTarget,
  RequestInHand,
} from "./src/rpc/discovery/control_contract.ts";
export type { ConsumerOptions } from "./src/rpc/server/subscriptions.ts";
export type {
  ConnectionEventMap,
  ConnectionEvents,
} from "./src/connection/connection_events.ts";
export type {
  CellOptions,
  CellRequest,
  CellRoute,
  Cells,
  CellsOptions,
} from "./src/cells/cells_options.ts";
export type { CellsClient } from "./src/cells/cells_client.ts";
export type { FanoutReport } from "./src/cells/cell_router.ts";
export type {
  CellServices,
  CellServiceStatus,
} from "./src/cells/cell_services.ts";
export type {
  Client,
  ClientOptions,
  VerbArgs,
} from "./src/rpc/client/client.ts";
export type {
  ContextValues,
  RequestContext,
} from "./src/contract/request_context.ts";
export type * from "./src/operations/types.ts";
export type * from "./src/contract/types.ts";
export type * from "./src/contract/json_types.ts";
export type { Dispatcher } from "./src/rpc/dispatch/dispatcher.ts";
export type {
  NotificationHandler,
  NotificationResult,
} from "./src/rpc/notifications/event_handling.ts";
export type {
  EventListenerOptions,
  ListenerOptions,
} from "./src/rpc/notifications/listener.ts";
export type {
  EventHandlers,
  EventOf,
} from "./src/rpc/notifications/typed_handlers.ts";
export type {
  Notifier,
  NotifierOptions,
} from "./src/rpc/notifications/typed_notifier.ts";
export type {
  EventContract,
  EventContractOf,
  EventInput,
  EventPayload,
  EventType,
  JsonEvents,
} from "./src/contract/events.ts";
export type { UntypedVerbs } from "./src/connection/untyped_verbs.ts";
export type {
  ClientInterceptor,
  InterceptedRequest,
  NextInterceptor,
  ServiceInterceptor,
  ServiceRequest,
} from "./src/rpc/interceptors.ts";
export type { Local, Locals } from "./src/contract/locals.ts";
export type {
  NotificationDriver,
  NotificationSettings,
  TestNotifier,
} from "./src/rpc/notifications/drivers.ts";
export type {
  EventSender,
  WithNotificationsOptions,
} from "./src/rpc/notifications/with_notifications.ts";
export type { NotifyOptions } from "./src/rpc/notifications/notifier.ts";
export type { NotificationPriority } from "./src/rpc/notifications/priority.ts";
export type {
  AnyArgs,
  CallOptions,
  CastOptions,
  FanoutCastOptions,
  SendOptions,
  Target,
} from "./src/rpc/client/call_options.ts";
export type {
  Input,
  Output,
  Schema,
  SchemaIssue,
  SchemaResult,
} from "./src/contract/schema.ts";
export type { ServicesOptions } from "./src/rpc/discovery/discover.ts";
export type {
  Claim,
  ClaimState,
  LedgerOptions,
  LedgerStore,
  StoredRequest,
} from "./src/ledger/ledger_store.ts";
export type { LatencyStats } from "./src/rpc/server_stats.ts";
export type {
  LongRunningHandler,
  LongRunningStats,
} from "./src/rpc/server_stats.ts";
export type {
  ServiceFilter,
  ServiceQuery,
} from "./src/rpc/discovery/service_contract.ts";
export type * from "./src/rpc/discovery/service_report.ts";
export type { ServerStats } from "./src/rpc/server_stats.ts";
export type { Config, ConfigOptions, LogLevel } from "./src/config/types.ts";
export type {
  ConfigReload,
  ConfigWatcher,
  Reloadable,
  WatchConfigOptions,
} from "./src/config/watch_config.ts";
export type {
  AskedCredentials,
  AskedUrls,
  BrokerUrl,
  BrokerUrls,
  ConnectionOptions,
} from "./src/connection/connection_options.ts";
export type {
  PostgresLedgerOptions,
  Queryable,
} from "./src/ledger/postgres_ledger.ts";
export type { NovaProfile } from "./src/connection/bus_profile.ts";
export type {
  ArgumentValues,
  QueueArguments,
} from "./src/transport/profile.ts";
export type { QueueState } from "./src/transport/transport.ts";
export type {
  ConnectionHealth,
  ConnectionState,
  ConsumingHealth,
  TransportHealth,
} from "./src/transport/transport_health.ts";
export type { Credentials, TlsOptions } from "./src/transport/credentials.ts";
export type { LaunchOptions } from "./src/service/process/launcher.ts";
export type {
  Capabilities,
  HostEnvironment,
  Implementation,
  ImplementOptions,
  ManagerOf,
} from "./src/service/manager.ts";
export type {
  PeriodicTask,
  TaskState,
} from "./src/service/periodic/task_runner.ts";
export type {
  TaskInterceptor,
  TaskRun,
} from "./src/service/periodic/task_interceptors.ts";
export type {
  CheckedManagers,
  Companion,
  Managers,
  ServiceOptions,
} from "./src/service/service_options.ts";
export type { CellServiceOptions } from "./src/service/service_cell.ts";
export type { Notification } from "./src/wire/mod.ts";
export type { DeadLetter } from "./src/rpc/letters/dead_letter.ts";
export type { DeadLetterListener } from "./src/rpc/letters/dead_letter_listener.ts";

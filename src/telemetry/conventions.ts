/**
 * Names of OpenTelemetry's semantic conventions, version 1.45: `rpc.*` and `error.type` are stable, `messaging.*` is in
 * development. Names with the prefix `warren.` are Warren's own. No other file has such a name.
 *
 * @module
 */

/** Name under which Warren creates its tracer and its meter. */
export const SCOPE = "warren";

/** Value of `rpc.system.name`. */
export const RPC_SYSTEM = "warren";

/** Value for a name that is not known, e.g. of a procedure that the receiver does not have. */
export const OTHER = "_OTHER";

/** Value of `rpc.response.status_code` of a call that succeeded; a failed call has the code of its error. */
export const STATUS_OK = "OK";

/** Names of attributes of spans and metrics. */
export const attribute = {
  rpcSystem: "rpc.system.name",
  rpcMethod: "rpc.method",
  rpcMethodOriginal: "rpc.method_original",
  rpcStatusCode: "rpc.response.status_code",
  errorType: "error.type",
  serverAddress: "server.address",
  serverPort: "server.port",
  messagingSystem: "messaging.system",
  operationName: "messaging.operation.name",
  operationType: "messaging.operation.type",
  destinationName: "messaging.destination.name",
  destinationTemplate: "messaging.destination.template",
  routingKey: "messaging.rabbitmq.destination.routing_key",
  messageId: "messaging.message.id",
  verb: "warren.verb",
  attempt: "warren.attempt",
  redelivered: "warren.redelivered",
  interruptions: "warren.interruptions",
  procedure: "warren.procedure",
  topic: "warren.topic",
  task: "warren.task",
  host: "warren.host",
  state: "warren.state",
  incident: "warren.incident",
  connection: "warren.connection",
} as const;

/** Names of the events of a span. */
export const spanEvent = {
  retried: "warren.retried",
  deadLettered: "warren.dead_lettered",
  quarantined: "warren.quarantined",
  requeued: "warren.requeued",
  deferred: "warren.deferred",
} as const;

/** Names of metrics. */
export const metric = {
  clientDuration: "rpc.client.call.duration",
  serverDuration: "rpc.server.call.duration",
  sendDuration: "messaging.client.operation.duration",
  processDuration: "messaging.process.duration",
  completionTime: "warren.request.completion_time",
  clientActive: "warren.client.active_requests",
  serverActive: "warren.server.active_requests",
  incidents: "warren.server.incidents",
  eventLoopBlocks: "warren.event_loop.blocks",
  connectionLosses: "warren.connection.losses",
  unconfirmed: "warren.connection.unconfirmed_messages",
  taskDuration: "warren.task.duration",
} as const;

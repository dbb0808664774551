/** Descriptions of the spans of requests and events, at both ends. @module */
import { attribute, RPC_SYSTEM } from "../../telemetry/conventions.ts";
import type {
  SpanAttributes,
  SpanOptions,
  TraceHeaders,
  TracePlace,
} from "../../telemetry/tracing.ts";
import type { Address } from "../../transport/address.ts";
import type { Session } from "../../transport/transport.ts";

/** Verb by which a message was sent. */
export type Verb = "call" | "multicall" | "cast" | "fanout" | "notify";

/** Request or event, as telemetry describes it. */
export interface TracedMessage {
  /** Verb. */
  readonly verb: Verb;
  /** Topic; of an event, the topic of its notifications. */
  readonly topic: string;
  /** Procedure, or the type of an event. */
  readonly procedure: string;
  /** Id of the message. */
  readonly id: string | undefined;
  /** Address to which the message was sent. */
  readonly address: Address;
  /** Session that sends or receives the message. */
  readonly session: Pick<Session, "system" | "destination">;
  /** Place in the code that sends the message; default: where its record begins. */
  readonly place?: TracePlace | undefined;
}

/** Message that is handled. */
export interface TracedDelivery extends TracedMessage {
  /** Headers that name the trace of the sender. */
  readonly cause: TraceHeaders;
  /** Number of the attempt, beginning with 1. */
  readonly attempt: number;
  /** True if the broker may have delivered the message before. */
  readonly redelivered: boolean;
  /** True if the span of a message without a reply begins a trace of its own, with a link to its sender. */
  readonly linked: boolean;
}

/** True for the verbs with a reply. */
export const hasReply = (verb: Verb): boolean =>
  verb === "call" || verb === "multicall";

/** Returns the name of a procedure as OpenTelemetry wants it, with its topic. */
export const methodName = (topic: string, procedure: string): string =>
  `${topic}/${procedure}`;

function callAttributes(message: TracedMessage): SpanAttributes {
  const { verb, topic, procedure, address, session } = message;
  const { host, port } = session.destination(address);
  return {
    [attribute.rpcSystem]: RPC_SYSTEM,
    [attribute.rpcMethod]: methodName(topic, procedure),
    [attribute.verb]: verb,
    [attribute.serverAddress]: host,
    [attribute.serverPort]: port,
  };
}

function messageAttributes(
  message: TracedMessage,
  operation: "send" | "process",
): SpanAttributes {
  const { verb, topic, procedure, id, address, session } = message;
  const { name, routingKey, host, port } = session.destination(address);
  return {
    [attribute.messagingSystem]: session.system,
    [attribute.operationName]: operation,
    [attribute.operationType]: operation,
    [attribute.destinationName]: name,
    [attribute.destinationTemplate]: topic,
    [attribute.routingKey]: routingKey,
    [attribute.messageId]: id,
    [attribute.verb]: verb,
    [attribute.procedure]: procedure,
    [attribute.serverAddress]: host,
    [attribute.serverPort]: port,
  };
}

/** Span of a message at its sender. */
export function sentSpan(message: TracedMessage): SpanOptions {
  const { topic, procedure, verb, place } = message;
  const name = methodName(topic, procedure);
  return hasReply(verb)
    ? { name, kind: "client", attributes: callAttributes(message), place }
    : {
      name: `send ${name}`,
      kind: "producer",
      attributes: messageAttributes(message, "send"),
      place,
    };
}

/**
 * Span of a message at its receiver. A call continues the trace of its caller. A message without a reply has a trace of its
 * own with a link to its sender, since it may be handled hours later, or continues the sender's trace.
 */
export function handledSpan(delivery: TracedDelivery): SpanOptions {
  const { verb, topic, procedure, cause, attempt, redelivered, linked } =
    delivery;
  const name = methodName(topic, procedure);
  const added = {
    [attribute.attempt]: attempt,
    [attribute.redelivered]: redelivered,
  };
  if (hasReply(verb)) {
    const attributes = { ...callAttributes(delivery), ...added };
    return { name, kind: "server", attributes, cause };
  }
  return {
    name: `process ${name}`,
    kind: "consumer",
    attributes: { ...messageAttributes(delivery, "process"), ...added },
    cause,
    linked,
  };
}

/** Names by which a trace goes from message to message. */
const TRACE_NAMES = ["traceparent", "tracestate", "baggage"] as const;

/** Returns the members of a record that name a trace. */
export function traceIn(
  record: Readonly<Record<string, unknown>> | undefined,
): TraceHeaders {
  const found: Record<string, string> = {};
  for (const name of TRACE_NAMES) {
    const value = record?.[name];
    if (typeof value === "string") found[name] = value;
  }
  return found;
}

/**
 * Returns the trace of a received message: that of its headers, else that of its context values, since a peer of
 * oslo.messaging forwards context values and no headers.
 */
export function causeOf(
  headers: Readonly<Record<string, unknown>>,
  values: Readonly<Record<string, unknown>>,
): TraceHeaders {
  return traceIn(typeof headers.traceparent === "string" ? headers : values);
}

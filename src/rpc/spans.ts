/** Descriptions of spans, by OpenTelemetry's semantic conventions for RPC and messaging. @module */
import type { SpanAttributes, SpanOptions, TraceHeaders } from "../tracing.ts";

/** Request or event, as a span describes it. */
export interface TracedMessage {
  /** Verb. */
  readonly kind: string;
  /** Topic. */
  readonly topic: string;
  /** Queue or topic to which the message is sent. */
  readonly destination: string;
  /** Procedure, or the type of an event. */
  readonly method: string;
  /** Id of the message. */
  readonly id: string | undefined;
}

function attributesOf(
  { kind, topic, destination, method, id }: TracedMessage,
  type: "send" | "process",
): SpanAttributes {
  return {
    "messaging.system": "rabbitmq",
    "messaging.destination.name": destination,
    "messaging.operation.type": type,
    "messaging.operation.name": kind,
    ...(id !== undefined && { "messaging.message.id": id }),
    "rpc.system": "warren",
    "rpc.service": topic,
    "rpc.method": method,
  };
}

/** Span of a message at its sender. */
export function sendingSpan(
  message: TracedMessage,
  waits: boolean,
): SpanOptions {
  return {
    name: `${message.topic}/${message.method}`,
    kind: waits ? "client" : "producer",
    attributes: attributesOf(message, "send"),
  };
}

/** Message that is handled, with the properties of its delivery. */
export interface TracedDelivery extends TracedMessage {
  /** True if the sender waits for a reply. */
  readonly waits: boolean;
  /** Headers of the message. */
  readonly headers: TraceHeaders;
  /** Number of the attempt, beginning with 1. */
  readonly attempt: number;
}

/**
 * Span of a message at its receiver. The first attempt continues the trace of the sender. A later attempt begins its
 * own trace, with a link to the sender's, which may be hours old.
 */
export function handlingSpan(delivery: TracedDelivery): SpanOptions {
  const { waits, headers, attempt } = delivery;
  return {
    name: `${delivery.topic}/${delivery.method}`,
    kind: waits ? "server" : "consumer",
    attributes: {
      ...attributesOf(delivery, "process"),
      "warren.attempt": attempt,
    },
    ...(attempt === 1 ? { parent: headers } : { links: [headers] }),
  };
}

/** Descriptions of spans, by OpenTelemetry's semantic conventions for RPC and messaging. @module */
import type { SpanAttributes, SpanOptions, TraceHeaders } from "../tracing.ts";

/** A request or an event, as a span describes it. */
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

/** Span of a message at its sender, who waits for a reply or not. */
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

/** A message that is handled, with what its delivery adds. */
export interface TracedDelivery extends TracedMessage {
  /** True if its sender waits for a reply. */
  readonly waits: boolean;
  /** Headers of the message. */
  readonly headers: TraceHeaders;
  /** 1 at first. */
  readonly attempt: number;
}

/**
 * Span of a message at its receiver. The first attempt goes on with the trace of the sender. A later one begins a trace of
 * its own with a link to the sender's, which may be hours old.
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

/** Instruments: what Warren measures of itself, by OpenTelemetry's names and units. @module */
import { attribute, metric, RPC_SYSTEM, STATUS_OK } from "./conventions.ts";
import { Instrument } from "./instrument.ts";
import type { InstrumentOptions } from "./series.ts";

/** Upper bounds of the buckets of durations, in seconds: those that the conventions advise. */
const SECONDS: readonly number[] = [
  ...[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25],
  ...[0.5, 0.75, 1, 2.5, 5, 7.5, 10],
];
/** The same for times that may last as long as retries: up to a day. */
const LONG_SECONDS: readonly number[] = [
  ...[0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3_600, 21_600, 86_400],
];

type AttributesOf = InstrumentOptions["attributesOf"];

/** Attributes whose values are given in the order of their names. */
const named = (...names: readonly string[]): AttributesOf => (values) =>
  Object.fromEntries(names.map((name, at) => [name, values[at] ?? ""]));

/** Attributes of a call, of its topic, its procedure and its status. */
const ofCall: AttributesOf = ([topic, procedure, status = STATUS_OK]) => ({
  [attribute.rpcSystem]: RPC_SYSTEM,
  [attribute.rpcMethod]: `${topic}/${procedure}`,
  [attribute.rpcStatusCode]: status,
  [attribute.errorType]: status === STATUS_OK ? "" : status,
});

/** Attributes of a message without a reply, of its kind of broker, topic, procedure and error. */
const ofMessage = (operation: "send" | "process"): AttributesOf =>
(
  [system = "", topic = "", procedure = "", error = ""],
) => ({
  [attribute.messagingSystem]: system,
  [attribute.operationName]: operation,
  [attribute.destinationName]: topic,
  [attribute.procedure]: procedure,
  [attribute.errorType]: error,
});

const duration = (
  name: string,
  attributesOf: AttributesOf,
  description: string,
  buckets = SECONDS,
) => {
  const common = { kind: "histogram", unit: "s" } as const;
  return new Instrument({
    ...{ ...common, name, attributesOf, description, buckets },
  });
};

const gauge = (
  name: string,
  unit: string,
  attributesOf: AttributesOf,
  description: string,
) => new Instrument({ kind: "gauge", name, unit, attributesOf, description });

const counter = (
  name: string,
  unit: string,
  attributesOf: AttributesOf,
  description: string,
) => new Instrument({ kind: "counter", name, unit, attributesOf, description });

/** All instruments. */
export const instruments = {
  /** Values of a series: topic, procedure, status. */
  clientDuration: duration(
    metric.clientDuration,
    ofCall,
    "Time from a call to its reply or its error, at the caller.",
  ),
  /** Values of a series: topic, procedure, status. */
  serverDuration: duration(
    metric.serverDuration,
    ofCall,
    "Time that a handler needed for a call, at the worker.",
  ),
  /** Values of a series: kind of the broker, topic, procedure, error. */
  sendDuration: duration(
    metric.sendDuration,
    ofMessage("send"),
    "Time until the broker had confirmed a cast, a fanout cast or an event.",
  ),
  /** Values of a series: kind of the broker, topic, procedure, error. */
  processDuration: duration(
    metric.processDuration,
    ofMessage("process"),
    "Time that a handler needed for a cast, a fanout cast or an event.",
  ),
  completionTime: duration(
    metric.completionTime,
    named(attribute.topic, attribute.procedure),
    "Time from the first sending of a request to the end of its handling, over all attempts; needs clocks that agree.",
    LONG_SECONDS,
  ),
  clientActive: gauge(
    metric.clientActive,
    "{request}",
    named(attribute.topic, attribute.procedure, attribute.verb),
    "Requests that this process has sent and that are not settled.",
  ),
  serverActive: gauge(
    metric.serverActive,
    "{request}",
    named(attribute.topic, attribute.procedure, attribute.state),
    "Requests that a worker has taken: running, or waiting for one of the places of its concurrency.",
  ),
  incidents: counter(
    metric.incidents,
    "{request}",
    named(attribute.topic, attribute.procedure, attribute.incident),
    "Requests that did not take the normal way: redelivered, interrupted, repeated, retried, dead_lettered, refused, dropped, fenced.",
  ),
  eventLoopBlocks: counter(
    metric.eventLoopBlocks,
    "{block}",
    named(),
    "Times that the event loop was blocked for a second or longer while handlers ran.",
  ),
  connectionLosses: counter(
    metric.connectionLosses,
    "{loss}",
    named(attribute.connection),
    "Connections to a broker that were lost.",
  ),
  unconfirmed: gauge(
    metric.unconfirmed,
    "{message}",
    named(),
    "Messages that were sent and that the broker has not confirmed yet; at most 1000.",
  ),
  taskDuration: duration(
    metric.taskDuration,
    named(attribute.topic, attribute.task, attribute.errorType),
    "Time that a run of a periodic task needed.",
    LONG_SECONDS,
  ),
} as const;

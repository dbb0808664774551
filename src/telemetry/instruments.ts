/** Instruments: what Warren measures of itself, by OpenTelemetry's names and units. @module */
import { attribute, metric } from "./conventions.ts";
import { Instrument } from "./instrument.ts";

/** Upper bounds of the buckets of durations, in seconds: those that the conventions advise. */
const SECONDS: readonly number[] = [
  ...[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25],
  ...[0.5, 0.75, 1, 2.5, 5, 7.5, 10],
];
/** The same for times that may last as long as retries: up to a day. */
const LONG_SECONDS: readonly number[] = [
  ...[0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3_600, 21_600, 86_400],
];

const RPC = [
  ...[attribute.rpcSystem, attribute.rpcMethod],
  ...[attribute.rpcStatusCode, attribute.errorType],
];
const MESSAGING = [
  ...[attribute.messagingSystem, attribute.operationName],
  ...[attribute.destinationName, attribute.procedure, attribute.errorType],
];

const duration = (
  name: string,
  attributes: readonly string[],
  description: string,
  buckets = SECONDS,
) =>
  new Instrument({
    name,
    kind: "histogram",
    unit: "s",
    attributes,
    description,
    buckets,
  });

/** All instruments. */
export const instruments = {
  clientDuration: duration(
    metric.clientDuration,
    RPC,
    "Time from a call to its reply or its error, at the caller.",
  ),
  serverDuration: duration(
    metric.serverDuration,
    RPC,
    "Time that a handler needed for a call, at the worker.",
  ),
  sendDuration: duration(
    metric.sendDuration,
    MESSAGING,
    "Time until the broker had confirmed a cast, a fanout cast or an event.",
  ),
  processDuration: duration(
    metric.processDuration,
    MESSAGING,
    "Time that a handler needed for a cast, a fanout cast or an event.",
  ),
  completionTime: duration(
    metric.completionTime,
    [attribute.topic, attribute.procedure],
    "Time from the first sending of a request to the end of its handling, over all attempts; needs clocks that agree.",
    LONG_SECONDS,
  ),
  clientActive: new Instrument({
    name: metric.clientActive,
    kind: "gauge",
    unit: "{request}",
    description:
      "Requests that this process has sent and that are not settled.",
    attributes: [attribute.topic, attribute.procedure, attribute.verb],
  }),
  serverActive: new Instrument({
    name: metric.serverActive,
    kind: "gauge",
    unit: "{request}",
    description:
      "Requests that a worker has taken: running, or waiting for one of the places of its concurrency.",
    attributes: [attribute.topic, attribute.procedure, attribute.state],
  }),
  incidents: new Instrument({
    name: metric.incidents,
    kind: "counter",
    unit: "{request}",
    description:
      "Requests that did not take the normal way: redelivered, interrupted, repeated, retried, dead_lettered, refused, dropped, fenced.",
    attributes: [attribute.topic, attribute.procedure, attribute.incident],
  }),
  eventLoopBlocks: new Instrument({
    name: metric.eventLoopBlocks,
    kind: "counter",
    unit: "{block}",
    description:
      "Times that the event loop was blocked for a second or longer while handlers ran.",
    attributes: [],
  }),
  connectionLosses: new Instrument({
    name: metric.connectionLosses,
    kind: "counter",
    unit: "{loss}",
    description: "Connections to a broker that were lost.",
    attributes: [attribute.connection],
  }),
  unconfirmed: new Instrument({
    name: metric.unconfirmed,
    kind: "gauge",
    unit: "{message}",
    description:
      "Messages that were sent and that the broker has not confirmed yet; at most 1000.",
    attributes: [],
  }),
  taskDuration: duration(
    metric.taskDuration,
    [attribute.topic, attribute.task, attribute.errorType],
    "Time that a run of a periodic task needed.",
    LONG_SECONDS,
  ),
} as const;

/** Lists the queues of topics, with their messages and consumers. @module */
import { delay } from "../../async/deadline.ts";
import { inParallel } from "../../async/in_parallel.ts";
import type { ConnectionContext } from "../../connection/connection_context.ts";
import { dependenciesOf } from "../../connection/connection_context.ts";
import { ConnectionFailedError, InvalidValueError } from "../../errors.ts";
import { checkHost, checkTopic } from "../../names.ts";
import { checkDuration } from "../../option_checks.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import { priorities } from "../../rpc/notifications/priority.ts";
import { direct } from "../../transport/address.ts";
import type {
  QueueState,
  Session,
  Transport,
} from "../../transport/transport.ts";
import { oldestIn } from "./oldest.ts";
import {
  addressOf,
  type NamedQueue,
  queuesOf,
  queuesOfTopic,
} from "./queue_kinds.ts";

/**
 * Selects queues.
 * @category Operations
 */
export interface QueueFilter {
  /** Topic; default: the topics of all services that run. */
  readonly topic?: string | undefined;
  /** Host, with its topic; default: the queue of the topic, and those of all hosts whose services run. */
  readonly host?: string | undefined;
  /** Topic of events, e.g. `notifications`, in place of `topic`: the queues of all its priorities. */
  readonly events?: string | undefined;
}

/**
 * Options of `queues`.
 * @category Operations
 */
export interface QueuesOptions {
  /** Milliseconds between two looks at the queues, for `rate`; default 0: one look, and no rate. */
  readonly interval?: number | undefined;
  /**
   * True to look at the first message of each queue of requests or events that nobody consumes, for `oldest`; default
   * false. On RabbitMQ before 4.3, each look counts towards the delivery limit of a quorum queue; the tenth replaces the
   * message by a copy at the end of the queue.
   */
  readonly oldest?: boolean | undefined;
  /**
   * Milliseconds to wait for services, and for the broker's answer on each queue; default 2000. Queues that were not
   * looked at after five times as long are listed as unavailable.
   */
  readonly timeout?: number | undefined;
}

/**
 * A queue that exists.
 * @category Operations
 */
export interface QueueInfo extends NamedQueue {
  /** Messages that wait, without those that are with a worker; undefined while the queue is unavailable. */
  readonly messages: number | undefined;
  /** Number of consumers; undefined while the queue is unavailable. */
  readonly consumers: number | undefined;
  /** Change of `messages` in messages a second, positive while the queue fills; undefined without `interval`. */
  readonly rate?: number | undefined;
  /** Milliseconds since the first message was sent, with the option `oldest`; undefined while the queue has a consumer. */
  readonly oldest?: number | undefined;
  /** Error with which the broker refuses to tell the state, e.g. because the node of the queue is down. */
  readonly unavailable?: string | undefined;
}

const filterNames = namesOf<QueueFilter>({
  topic: true,
  host: true,
  events: true,
});
const optionNames = namesOf<QueuesOptions>({
  interval: true,
  oldest: true,
  timeout: true,
});

const DEFAULT_TIMEOUT_MS = 2_000;
/** Multiple of the timeout that all looks may take together. */
const MAX_TIMEOUTS = 5;
/** Queues that are looked at at the same time. */
const PARALLEL = 8;
/** Maximum number of queues that are looked at: of 1000 hosts and topics. */
const MAX_QUEUES = 10_000;

/**
 * Lists the queues of topics that exist.
 *
 * @throws {InvalidValueError} the filter or an option is wrong.
 * @throws {ConnectionFailedError} there is no connection to the broker.
 */
export async function listQueues(
  connection: ConnectionContext,
  filter: QueueFilter = {},
  options: QueuesOptions = {},
): Promise<QueueInfo[]> {
  checkQueueFilter(filter);
  checkNames(options, optionNames);
  const { interval = 0, oldest = false, timeout = DEFAULT_TIMEOUT_MS } =
    options;
  checkDuration("timeout", timeout);
  if (interval !== 0) checkDuration("interval", interval);
  const names = await candidates(connection, filter, timeout);
  const { transport, session } = dependenciesOf(connection).resources;
  const looked = await inspectAll(transport, names, timeout);
  const first = oldest ? await withOldest(session, looked, timeout) : looked;
  if (interval === 0) return first;
  const startedAt = performance.now();
  await delay(interval, { at: Infinity });
  const second = await inspectAll(transport, first, timeout);
  const seconds = (performance.now() - startedAt) / 1_000;
  return second.map((info) => withRate(info, first, seconds));
}

function checkQueueFilter(filter: QueueFilter): void {
  checkNames(filter, filterNames);
  const { topic, host, events } = filter;
  if (topic !== undefined) checkTopic(topic);
  if (events !== undefined) checkTopic(events);
  if (host !== undefined) checkHost(host);
  const isAmbiguous = events !== undefined && (topic ?? host) !== undefined;
  const lacksTopic = host !== undefined && topic === undefined;
  if (!isAmbiguous && !lacksTopic) return;
  const text = isAmbiguous
    ? "Invalid filter events: give either events, or topic and host"
    : `Invalid filter host "${host}": give the topic as well`;
  const path = isAmbiguous ? "events" : "host";
  throw new InvalidValueError(text, { data: { path } });
}

/** Returns the names of all queues that may exist. */
async function candidates(
  connection: ConnectionContext,
  { topic, host, events }: QueueFilter,
  timeout: number,
): Promise<readonly NamedQueue[]> {
  if (events !== undefined) {
    return priorities.flatMap((priority) =>
      queuesOf({ kind: "event", topic: events, priority })
    );
  }
  if (topic !== undefined && host !== undefined) {
    return queuesOf({ kind: "host", topic, host });
  }
  const hosts = new Map<string, Set<string>>();
  if (topic !== undefined) hosts.set(topic, new Set());
  for await (const service of connection.services({ topic, timeout })) {
    const known = hosts.get(service.topic) ?? new Set();
    hosts.set(service.topic, known.add(service.host));
  }
  return [...hosts].flatMap(([topic, hosts]) =>
    queuesOfTopic(topic, [...hosts])
  ).slice(0, MAX_QUEUES);
}

/** Looks at queues; those that do not exist are left out. */
async function inspectAll(
  transport: Pick<Transport, "inspect">,
  names: readonly NamedQueue[],
  timeout: number,
): Promise<QueueInfo[]> {
  const found = new Map<NamedQueue, QueueInfo>();
  const latest = performance.now() + MAX_TIMEOUTS * timeout;
  await inParallel(names, PARALLEL, async (named) => {
    const state = performance.now() < latest
      ? await stateOf(transport, named.name, timeout)
      : notLooked(MAX_TIMEOUTS * timeout);
    if (state) found.set(named, { ...named, ...state });
  });
  return names.flatMap((named) => found.get(named) ?? []);
}

const notLooked = (ms: number): QueueLook => ({
  messages: undefined,
  consumers: undefined,
  unavailable: `not looked at within ${ms} ms, since the broker is slow`,
});

/** State of a queue, or the reason why it cannot be told. */
export type QueueLook =
  & { readonly [K in keyof QueueState]: QueueState[K] | undefined }
  & { readonly unavailable?: string | undefined };

/**
 * Looks at one queue; undefined if it does not exist.
 *
 * @throws {ConnectionFailedError} there is no connection to the broker.
 */
export async function stateOf(
  transport: Pick<Transport, "inspect">,
  name: string,
  timeout: number,
): Promise<QueueLook | undefined> {
  const deadline = { at: performance.now() + timeout };
  try {
    return await transport.inspect(direct(name), deadline);
  } catch (error) {
    if (error instanceof ConnectionFailedError) throw error;
    const unavailable = error instanceof Error ? error.message : `${error}`;
    return { messages: undefined, consumers: undefined, unavailable };
  }
}

/** Adds the age of the first message to queues that have messages and no consumer. */
async function withOldest(
  session: Session,
  infos: readonly QueueInfo[],
  timeout: number,
): Promise<QueueInfo[]> {
  const ages = new Map<QueueInfo, number | undefined>();
  await inParallel(infos, PARALLEL, async (info) => {
    const address = addressOf(info);
    const isIdle = info.consumers === 0 && info.messages !== 0;
    if (!address || !isIdle) return;
    ages.set(info, await oldestIn(session, address, timeout));
  });
  return infos.map((info) => ({ ...info, oldest: ages.get(info) }));
}

function withRate(
  info: QueueInfo,
  earlier: readonly QueueInfo[],
  seconds: number,
): QueueInfo {
  const before = earlier.find(({ name }) => name === info.name)?.messages;
  const { messages } = info;
  if (before === undefined || messages === undefined) return info;
  return { ...info, rate: (messages - before) / seconds };
}

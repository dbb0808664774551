/** Service discovery: by queries, by reports, and by the records of a store (Nova: `nova-manage service list`). @module */
import { InvalidValueError } from "../../errors.ts";
import { logger, oneLine } from "../../logging.ts";
import { withDeadline } from "../../async/deadline.ts";
import type { Consumer, Delivery, Session } from "../../transport/transport.ts";
import { decode, type Limits, type Reply } from "../../wire/mod.ts";
import { AsyncQueue } from "../../async/async_queue.ts";
import type { RpcClient } from "../client/rpc_client.ts";
import { checkName, checkTopic } from "../../names.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import {
  answerIn,
  registryContract,
  REPORT,
  REPORTS,
  reportsIn,
  type ServiceFilter,
  type ServiceQuery,
} from "./service_contract.ts";
import type { ServiceStatus, ServiceStore } from "./service_report.ts";
import { ServiceTracker } from "./service_tracker.ts";

/**
 * Options of service discovery.
 * @category Fleet
 */
export interface ServicesOptions extends ServiceFilter {
  /** Kind of the query: `ping` (default) returns the state of services, `info` their contracts, `stats` their counters. */
  readonly ask?: ServiceQuery | undefined;
  /** Milliseconds to wait for replies; default 1000. */
  readonly timeout?: number | undefined;
  /**
   * True to continue after the timeout, and to yield a service whenever it starts, changes its state or stops
   * reporting. Default false.
   */
  readonly watch?: boolean | undefined;
  /** Store with the records of services that do not reply, e.g. because they are down. */
  readonly store?: Pick<ServiceStore, "list"> | undefined;
  /** Ends discovery: it throws `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

/** Names of {@linkcode ServicesOptions}. */
const servicesNames = namesOf<ServicesOptions>({
  topic: true,
  host: true,
  ask: true,
  timeout: true,
  watch: true,
  store: true,
  signal: true,
});

/** Collaborators of discovery. */
export interface DiscoveryResources {
  /** Calls the services. */
  readonly client: RpcClient;
  /** Consumes the reports. */
  readonly session: Session;
  /** Limits of messages. */
  readonly limits: Limits;
  /** Fires when the connection is disposed. */
  readonly closing: AbortSignal;
}

/** Default of the milliseconds to wait for replies. */
const DEFAULT_TIMEOUT_MS = 1_000;
/** Milliseconds for the store to list its records. */
const STORE_TIMEOUT_MS = 5_000;

/** Returns the consumer of the reports that services broadcast. */
function reportConsumer(
  { limits }: DiscoveryResources,
  tracker: ServiceTracker,
): (delivery: Delivery) => void {
  return (delivery) => {
    delivery.ack();
    const { message } = delivery;
    const decoded = decode(message.body, message.headers, limits, message);
    const request = "message" in decoded ? decoded.message : undefined;
    if (request?.kind !== "request" || request.method !== REPORT) return;
    for (const report of reportsIn(request.args)) tracker.onReport(report);
  };
}

async function listen(
  resources: DiscoveryResources,
  tracker: ServiceTracker,
  signal: AbortSignal,
): Promise<Consumer> {
  return await resources.session.consume(
    { kind: "fanout", topic: REPORTS.topic },
    reportConsumer(resources, tracker),
    {
      prefetch: 0,
      limit: { bytes: resources.limits.bytes, allowWhole: false },
    },
    { at: Infinity, signal },
  );
}

/** Passes the records of a store to the tracker; an error of the store is logged. */
async function readStore(
  store: Pick<ServiceStore, "list">,
  tracker: ServiceTracker,
  signal: AbortSignal,
): Promise<void> {
  const deadline = { at: performance.now() + STORE_TIMEOUT_MS, signal };
  try {
    const timeoutError = () =>
      new Error(`no answer within ${STORE_TIMEOUT_MS} ms`);
    const records = await withDeadline(store.list(), deadline, timeoutError);
    tracker.onRecord(records);
  } catch (error) {
    if (signal.aborted) throw error;
    logger("rpc").warn("The store of services cannot be read: {error}", {
      error,
    });
  }
}

/** Returns the listener of the replies to a query. */
function replyListener(tracker: ServiceTracker, ask: ServiceQuery) {
  return ({ result, failure }: Reply, roundTrip: number): void => {
    if (failure) {
      const reason = oneLine(`${failure.type}: ${failure.message}`);
      logger("rpc").warn("A service cannot answer: {reason}", { reason });
    }
    const { reports, info, stats } = answerIn(result);
    const more: Partial<ServiceStatus> = {
      roundTrip,
      ...(ask === "info" && { info }),
      ...(ask === "stats" && { stats }),
    };
    for (const report of reports) tracker.onReport(report, more);
  };
}

/** Checks the options that no later step checks. */
function check(options: ServicesOptions): void {
  checkNames(options, servicesNames);
  const { ask, topic, host } = options;
  if (topic !== undefined) checkTopic(topic);
  if (host !== undefined) checkName("host", host);
  if (ask === undefined || Object.hasOwn(registryContract.procedures, ask)) {
    return;
  }
  throw new InvalidValueError(
    `Invalid option ask ${oneLine(ask, 40)}: give ping, info or stats`,
    { data: { path: "ask" } },
  );
}

/** Yields services as they reply; with `watch`, each of them again whenever it changes. */
export function discover(
  resources: DiscoveryResources,
  options: ServicesOptions,
): AsyncGenerator<ServiceStatus, void, undefined> {
  const ended = new AbortController();
  const statuses = run(resources, options, ended);
  const { return: end } = statuses;
  // The generator's own `return` would wait for a pending `next`, which waits for the next change of a service.
  statuses.return = (value) => {
    ended.abort();
    return end.call(statuses, value);
  };
  return statuses;
}

async function* run(
  resources: DiscoveryResources,
  options: ServicesOptions,
  ended: AbortController,
): AsyncGenerator<ServiceStatus, void, undefined> {
  const { topic, host, watch = false } = options;
  check(options);
  const statuses = new AsyncQueue<ServiceStatus>();
  const signals = [ended.signal, resources.closing, options.signal];
  const signal = AbortSignal.any(signals.filter((each) => each !== undefined));
  signal.throwIfAborted();
  signal.addEventListener("abort", () => {
    statuses.end(ended.signal.aborted ? {} : { error: signal.reason });
  });
  using tracker = new ServiceTracker(
    { topic, host },
    watch,
    (status) => statuses.push(status),
  );
  const consumer = watch ? await listen(resources, tracker, signal) : undefined;
  const surveyed = survey(resources, options, tracker, signal)
    .then(() => watch || statuses.end())
    .catch((error) => statuses.end({ error }));
  try {
    yield* statuses;
  } finally {
    ended.abort();
    await surveyed;
    await consumer?.cancel();
  }
}

/** Queries the services, then reads the store for those that have not replied. */
async function survey(
  { client }: DiscoveryResources,
  options: ServicesOptions,
  tracker: ServiceTracker,
  signal: AbortSignal,
): Promise<void> {
  const { ask = "ping", timeout = DEFAULT_TIMEOUT_MS, store } = options;
  const { topic, host } = options;
  const query = {
    target: registryContract,
    method: ask,
    args: { topic, host },
    options: { timeout, signal },
  };
  await client.gather(query, replyListener(tracker, ask));
  if (store) await readStore(store, tracker, signal);
  else tracker.skipStore();
}

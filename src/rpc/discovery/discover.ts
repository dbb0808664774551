/** Who serves: by asking, by listening, and by what a store remembers (Nova: `nova-manage service list`). @module */
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
 * Which services, and what of them.
 * @category Fleet
 */
export interface ServicesOptions extends ServiceFilter {
  /** What to ask them: for their state alone (default), for what they serve, or for what they have done. */
  readonly ask?: ServiceQuery | undefined;
  /** Milliseconds that answers are waited for; default 1000. */
  readonly timeout?: number | undefined;
  /** Goes on after that: a service that comes, changes its state or falls silent is told as it happens; default false. */
  readonly watch?: boolean | undefined;
  /** Tells also of services that did not answer, e.g. since they are down. */
  readonly store?: Pick<ServiceStore, "list"> | undefined;
  /** Ends it sooner, with its reason. */
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

/** Milliseconds that replies are waited for, unless said otherwise. */
const DEFAULT_TIMEOUT_MS = 1_000;
/** Milliseconds that a store may take. */
const STORE_TIMEOUT_MS = 5_000;

/** Hands what services broadcast to `sightings`. */
function startTracker(
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
    startTracker(resources, tracker),
    {
      prefetch: 0,
      limit: { bytes: resources.limits.bytes, allowWhole: false },
    },
    { at: Infinity, signal },
  );
}

/** What a store knows; nothing, where it cannot be reached. */
async function readStore(
  store: Pick<ServiceStore, "list">,
  tracker: ServiceTracker,
  signal: AbortSignal,
): Promise<void> {
  const wait = { at: performance.now() + STORE_TIMEOUT_MS, signal };
  try {
    const late = () => new Error(`no answer within ${STORE_TIMEOUT_MS} ms`);
    tracker.onRecord(await withDeadline(store.list(), wait, late));
  } catch (error) {
    if (signal.aborted) throw error;
    logger("rpc").warn("The store of services cannot be read: {error}", {
      error,
    });
  }
}

function answered(tracker: ServiceTracker, ask: ServiceQuery) {
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

/** Checks what nobody else checks on the way. */
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

/** Services as they are found; those that are watched go on as they change. */
export function discover(
  resources: DiscoveryResources,
  options: ServicesOptions,
): AsyncGenerator<ServiceStatus, void, undefined> {
  const left = new AbortController();
  const found = run(resources, options, left);
  const { return: end } = found;
  // A generator's own `return` would wait for a `next` under way, and that for the next change.
  found.return = (value) => {
    left.abort();
    return end.call(found, value);
  };
  return found;
}

async function* run(
  resources: DiscoveryResources,
  options: ServicesOptions,
  left: AbortController,
): AsyncGenerator<ServiceStatus, void, undefined> {
  const { ask = "ping", watch = false, timeout = DEFAULT_TIMEOUT_MS, store } =
    options;
  const { topic, host } = options;
  check(options);
  const arrivals = new AsyncQueue<ServiceStatus>();
  const signals = [left.signal, resources.closing, options.signal];
  const signal = AbortSignal.any(signals.filter((each) => each !== undefined));
  signal.throwIfAborted();
  signal.addEventListener("abort", () => {
    arrivals.end(left.signal.aborted ? {} : { error: signal.reason });
  });
  using tracker = new ServiceTracker(
    { topic, host },
    watch,
    (status) => arrivals.push(status),
  );
  const survey = async () => {
    const found = answered(tracker, ask);
    const filter = { topic, host };
    const limits = { timeout, signal };
    await resources.client.gather(
      { target: registryContract, method: ask, args: filter, options: limits },
      found,
    );
    if (store) await readStore(store, tracker, signal);
    else tracker.alone();
    if (!watch) arrivals.end();
  };
  const consumer = watch ? await listen(resources, tracker, signal) : undefined;
  const surveyed = survey().catch((error) => arrivals.end({ error }));
  try {
    yield* arrivals;
  } finally {
    left.abort();
    await surveyed;
    await consumer?.cancel();
  }
}

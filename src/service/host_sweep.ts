/** Host sweep: removes the empty queues of hosts that have departed. @module */
import { inParallel } from "../async/in_parallel.ts";
import { logger } from "../logging.ts";
import { queueFor } from "../transport/address.ts";
import {
  type ConnectionContext,
  createContext,
} from "../connection/connection_context.ts";
import type {
  ConnectionDependencies,
  ConnectionResources,
} from "../connection/dependencies.ts";
import {
  holdHost,
  type HostLock,
  isEmpty,
  isLockable,
  lockHost,
  removeQueues,
  type TopicHost,
} from "../rpc/host_queues.ts";
import type { ServiceStatus } from "../rpc/discovery/service_report.ts";
import { checkConnectionOptions } from "../connection/checked_options.ts";
import { openConnection } from "../connection/connect.ts";
import { PeriodicTasks } from "./periodic/periodic_tasks.ts";
import { REPORTER_OPTIONS } from "./service_reporting.ts";
import {
  findDepartedHosts,
  readRecords,
  removeRecords,
  topicsOf,
} from "./departed_hosts.ts";
import type { ServiceOptions } from "./service_options.ts";

/** Default of the milliseconds without a report after which a host counts as departed. */
const HOST_EXPIRY_MS = 7 * 86_400_000;
/** Maximum milliseconds between two sweeps. */
const SWEEP_INTERVAL_MS = 3_600_000;
/** Hosts that are checked and locked together. */
const MAX_HOSTS_PER_BATCH = 20;
/** Topics whose locks are acquired at the same time. */
const MAX_LOCKS = 256;
/** Milliseconds for `removeOwnQueues` to connect to the broker. */
const CONNECT_TIMEOUT_MS = 5_000;

/**
 * Runs `work` with a connection context of its own. Does nothing on an OpenStack bus, where other programs use the same
 * queues.
 */
async function withOwnConnection<T>(
  options: ServiceOptions,
  work: (
    resources: ConnectionResources,
    connection: ConnectionContext,
  ) => Promise<T>,
): Promise<T | undefined> {
  const opened = await open(options);
  await using connection = createContext(opened);
  if (opened.notifications.openstack) return undefined;
  return await work(opened.resources, connection);
}

/**
 * Prevents other services from removing the queues of a host, until disposed. A service needs this before it consumes, and
 * while it drains: the broker then reports neither a consumer nor the messages that are unacknowledged.
 */
export async function protectHostQueues(
  options: ServiceOptions,
  host: string,
): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const opened = await open(options);
  const { resources } = opened;
  stack.use(createContext(opened));
  const topics = opened.notifications.openstack
    ? []
    : [...topicsOf(options)].filter((topic) => isLockable({ topic, host }));
  const protections: AsyncDisposable[] = [];
  stack.defer(async () => {
    await Promise.all(protections.map((each) => each[Symbol.asyncDispose]()));
  });
  await inParallel(topics, MAX_LOCKS, async (topic) => {
    try {
      const held = await holdHost(resources, { topic, host }, options.signal);
      protections.push(held);
    } catch (error) {
      logger("service").warn(
        "The queues of {queue} are not protected and may be removed while they have no consumer: {error}",
        { queue: queueFor(topic, host), error },
      );
    }
  });
  options.signal?.throwIfAborted();
  return stack.move();
}

/** Starts the periodic task that removes the queues of departed hosts. */
export function startHostSweep(
  options: ServiceOptions,
  host: string,
): PeriodicTasks {
  const { hostExpiry = HOST_EXPIRY_MS, store } = options;
  const every = Math.min(hostExpiry, SWEEP_INTERVAL_MS);
  const run = (signal: AbortSignal) =>
    removeDepartedHosts({ ...options, signal }, host, hostExpiry).catch(
      (error) => {
        if (signal.aborted) return;
        const text = "The queues of departed hosts cannot be removed: {error}";
        logger("service").warn(text, { error });
      },
    );
  const task = { name: "host_queues", every, initialDelay: 0, run };
  const enabled = store !== undefined && hostExpiry !== Infinity;
  return new PeriodicTasks(enabled ? [{ ...task, jitter: every / 2 }] : []);
}

/**
 * Removes the queues and records of departed hosts. Nothing is removed unless this service receives its own reply to the
 * query: otherwise replies may be lost, and a missing reply does not prove that a service is gone.
 */
async function removeDepartedHosts(
  options: ServiceOptions,
  host: string,
  expiry: number,
): Promise<void> {
  const { store, signal } = options;
  const departed = await findDepartedHosts(options, expiry);
  const others = departed.filter((each) => each.host !== host);
  const isComplete = (services: readonly ServiceStatus[]) =>
    services.some((status) => status.host === host);
  if (others.length === 0) return;
  await withOwnConnection(options, async (resources, connection) => {
    for (let at = 0; at < others.length; at += MAX_HOSTS_PER_BATCH) {
      const batch = others.slice(at, at + MAX_HOSTS_PER_BATCH);
      const removed = await removeUnservedQueues(
        resources,
        connection,
        batch,
        { signal, isComplete },
      );
      await removeRecords(store, removed.flatMap(({ records }) => records));
    }
  });
}

/** Removes the queues of this host for `Service.kill`, except those that other services use. Never rejects. */
export async function removeOwnQueues(
  options: ServiceOptions,
  host: string,
): Promise<void> {
  const limited = {
    ...options,
    timeout: CONNECT_TIMEOUT_MS,
    signal: undefined,
  };
  try {
    const others = await readRecords(options);
    const served = (topic: string) =>
      others.some((other) =>
        queueFor(topic, host) === other.topic || other.topic === topic &&
          other.host === host && other.state !== "stopped"
      );
    const own = [...topicsOf(options)].filter((topic) => !served(topic))
      .map((topic) => ({ topic, host }));
    await withOwnConnection(
      limited,
      (resources, connection) =>
        removeUnservedQueues(resources, connection, own),
    );
  } catch (error) {
    logger("service").warn("The queues of {host} stay: {error}", {
      host,
      error,
    });
  }
}

/** Options of `removeUnservedQueues`. */
interface RemoveOptions {
  /** Signal that ends the removal. */
  readonly signal?: AbortSignal | undefined;
  /** True if the replies of services are complete; nothing is removed otherwise. */
  readonly isComplete?: (services: readonly ServiceStatus[]) => boolean;
}

/**
 * Removes the queues of hosts, and returns the hosts whose queues are gone. The order prevents a race with a service that
 * starts: first the hosts are locked, so that no service can start on them; then all services are queried; then the queues
 * of hosts without a reply are removed.
 */
async function removeUnservedQueues<H extends TopicHost>(
  resources: ConnectionResources,
  connection: ConnectionContext,
  hosts: readonly H[],
  { signal = new AbortController().signal, isComplete = () => true }:
    RemoveOptions = {},
): Promise<readonly H[]> {
  await using locks = new AsyncDisposableStack();
  const locked: { readonly host: H; readonly lock: HostLock }[] = [];
  for (const host of hosts) {
    const empty = () => isEmpty(resources, host, signal);
    if (!await falseOnError(host, signal, empty)) continue;
    const lock = locks.use(await lockHost(resources, host, signal) ?? null);
    if (lock) locked.push({ host, lock });
  }
  if (locked.length === 0) return [];
  const services = await Array.fromAsync(connection.services({ signal }));
  if (!isComplete(services)) return [];
  const removed: H[] = [];
  for (const { host, lock } of locked) {
    if (services.some((status) => isServedBy(status, host))) continue;
    const remove = () => removeQueues(resources, lock, signal);
    if (!await falseOnError(host, signal, remove)) continue;
    removed.push(host);
    const queue = queueFor(host.topic, host.host);
    const text = "Removed the empty queues of {queue}: the host has departed";
    logger("service").info(text, { queue });
  }
  return removed;
}

/** True if a service uses the queue of a host: it serves the topic on this host, or a topic named as the queue. */
function isServedBy(
  { topic, host, state }: ServiceStatus,
  departed: TopicHost,
): boolean {
  if (state === "stopped" || state === "removed") return false;
  return topic === departed.topic && host === departed.host ||
    topic === queueFor(departed.topic, departed.host);
}

/** Returns the result of `work`, or false after an error, so that the queues stay. */
async function falseOnError(
  { topic, host }: TopicHost,
  signal: AbortSignal,
  work: () => Promise<boolean>,
): Promise<boolean> {
  try {
    return await work();
  } catch (error) {
    const queue = queueFor(topic, host);
    const text = "The queues of {queue} stay: {error}";
    const level = signal.aborted ? "debug" : "warn";
    logger("service")[level](text, { queue, error }, queue);
    return false;
  }
}

/** Opens a connection that only looks after queues. */
async function open(options: ServiceOptions): Promise<ConnectionDependencies> {
  const checked = checkConnectionOptions({ ...options, ...REPORTER_OPTIONS });
  return await openConnection(options.url, checked);
}

/** Hosts come and go: the queues of those that left are removed when nothing is in them. @module */
import { logger } from "../logging.ts";
import { withDeadline } from "../async/deadline.ts";
import { queueFor } from "../transport/address.ts";
import {
  type ConnectionContext,
  createContext,
} from "../connection/connection_context.ts";
import type { ConnectionParts } from "../connection/dependencies.ts";
import {
  holdHost,
  type HostLock,
  type HostOf,
  isEmpty,
  isLockable,
  lockHost,
  removeQueues,
} from "../rpc/host_queues.ts";
import { checkHost } from "../names.ts";
import { serviceKey } from "../rpc/discovery/service_contract.ts";
import type {
  ServiceRecord,
  ServiceStatus,
  ServiceStore,
} from "../rpc/discovery/service_report.ts";
import { lease } from "../connection/connect.ts";
import { PeriodicTasks } from "./periodic/periodic_tasks.ts";
import { REPORTER_OPTIONS } from "./service_reporting.ts";
import { managersOf, type ServiceOptions } from "./service_options.ts";

/** Milliseconds without a report after which a host has left. */
const HOST_EXPIRY_MS = 7 * 86_400_000;
/** Milliseconds between two sweeps at most. */
const SWEEP_INTERVAL_MS = 3_600_000;
/** Hosts that are looked at together. */
const MAX_HOSTS_PER_BATCH = 20;
/** Milliseconds that the store may take, and the broker to be connected to. */
const TIMEOUT_MS = 5_000;

/** A host that has left, with its records. */
interface DepartedHost extends HostOf {
  readonly records: readonly ServiceRecord[];
}

const topicsOf = ({ manager }: ServiceOptions): ReadonlySet<string> =>
  new Set(managersOf(manager).map(({ contract }) => contract.topic));

/** Channels of its own, which do not outlive `work`. On OpenStack's bus queues belong to others too: there it does nothing. */
async function withOwnConnection<T>(
  options: ServiceOptions,
  work: (
    resources: ConnectionParts,
    connection: ConnectionContext,
  ) => Promise<T>,
): Promise<T | undefined> {
  const resources = await lease(options.url, {
    ...options,
    ...REPORTER_OPTIONS,
  });
  await using connection = createContext(resources);
  return resources.openstack ? undefined : await work(resources, connection);
}

/** Until disposed, the queues of the host stay: also while nobody consumes them, and what was taken from them is not counted. */
export async function protectHostQueues(
  options: ServiceOptions,
  host: string,
): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const parts = await lease(options.url, { ...options, ...REPORTER_OPTIONS });
  stack.use(createContext(parts));
  const topics = parts.openstack
    ? []
    : [...topicsOf(options)].filter((topic) => isLockable({ topic, host }));
  const held = await Promise.all(
    topics.map((topic) =>
      holdHost(parts, { topic, host }, options.signal).catch((error) => {
        logger("service").warn(
          "The queues of {queue} may be removed while nobody consumes them: {error}",
          { queue: queueFor(topic, host), error },
        );
        return null;
      })
    ),
  );
  for (const each of held) stack.use(each);
  options.signal?.throwIfAborted();
  return stack.move();
}

/** Sweeps again and again, until disposed. */
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
        const text = "Queues of hosts that left cannot be removed: {error}";
        logger("service").warn(text, { error });
      },
    );
  const task = { name: "host_queues", every, initialDelay: 0, run };
  const on = store !== undefined && hostExpiry !== Infinity;
  return new PeriodicTasks(on ? [{ ...task, jitter: every / 2 }] : []);
}

/** Services that cannot be asked may be there all the same: this one has to be among those that answer. */
async function removeDepartedHosts(
  options: ServiceOptions,
  host: string,
  expiry: number,
): Promise<void> {
  const { store, signal } = options;
  const left = await findDepartedHosts(options, expiry);
  const others = left.filter((each) => each.host !== host);
  const isPresent = (there: readonly ServiceStatus[]) =>
    there.some((status) => status.host === host);
  if (others.length === 0) return;
  await withOwnConnection(options, async (parts, connection) => {
    for (let at = 0; at < others.length; at += MAX_HOSTS_PER_BATCH) {
      const some = others.slice(at, at + MAX_HOSTS_PER_BATCH);
      const gone = await removeUnservedQueues(
        parts,
        connection,
        some,
        signal,
        isPresent,
      );
      await removeRecords(store, gone.flatMap(({ records }) => records));
    }
  });
}

/** Removes records that say the same as before. */
async function removeRecords(
  store: ServiceStore | undefined,
  records: readonly ServiceRecord[],
): Promise<void> {
  for (const record of records) {
    const now = await store?.get(record);
    const same = now?.id === record.id && now.updatedAt === record.updatedAt;
    if (same) await store?.remove(record);
  }
}

/** What a service that is not expected back leaves: see `Service.kill`. Never fails. */
export async function removeOwnQueues(
  options: ServiceOptions,
  host: string,
): Promise<void> {
  const asked = { ...options, timeout: TIMEOUT_MS, signal: undefined };
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
      asked,
      (parts, connection) => removeUnservedQueues(parts, connection, own),
    );
  } catch (error) {
    logger("service").warn("The queues of {host} stay: {error}", {
      host,
      error,
    });
  }
}

/** Those of the hosts whose queues are gone. Services are asked when none can start there any more. */
async function removeUnservedQueues<H extends HostOf>(
  parts: ConnectionParts,
  connection: ConnectionContext,
  hosts: readonly H[],
  signal: AbortSignal = new AbortController().signal,
  trusted: (there: readonly ServiceStatus[]) => boolean = () => true,
): Promise<readonly H[]> {
  await using locks = new AsyncDisposableStack();
  const locked: { readonly host: H; readonly lock: HostLock }[] = [];
  for (const host of hosts) {
    const empty = () => isEmpty(parts, host, signal);
    if (!await falseOnError(host, signal, empty)) continue;
    const lock = locks.use(await lockHost(parts, host, signal) ?? null);
    if (lock) locked.push({ host, lock });
  }
  if (locked.length === 0) return [];
  const there = await Array.fromAsync(connection.services({ signal }));
  if (!trusted(there)) return [];
  const gone: H[] = [];
  for (const { host, lock } of locked) {
    if (there.some((status) => isServedBy(status, host))) continue;
    const remove = () => removeQueues(parts, lock, signal);
    if (!await falseOnError(host, signal, remove)) continue;
    gone.push(host);
    const queue = queueFor(host.topic, host.host);
    const text = "Removed the empty queues of {queue}: its host has left";
    logger("service").info(text, { queue });
  }
  return gone;
}

/** A service of the host; or of a topic that has the queue of the host. */
function isServedBy(
  { topic, host, state }: ServiceStatus,
  left: HostOf,
): boolean {
  if (state === "stopped" || state === "removed") return false;
  return topic === left.topic && host === left.host ||
    topic === queueFor(left.topic, left.host);
}

/** False where the broker refuses it, or does not answer: then the queues stay. */
async function falseOnError(
  { topic, host }: HostOf,
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

/** What the store knows; a store that is away does no harm, and is told of by whoever writes to it. */
async function readRecords(
  { store }: ServiceOptions,
): Promise<readonly ServiceRecord[]> {
  const wait = { at: performance.now() + TIMEOUT_MS };
  const late = () =>
    new Error(`the store says nothing within ${TIMEOUT_MS} ms`);
  return store ? await withDeadline(store.list(), wait, late) : [];
}

/** Hosts of the topics of a service that have not reported for so long. */
async function findDepartedHosts(
  options: ServiceOptions,
  expiry: number,
): Promise<readonly DepartedHost[]> {
  const records = await readRecords(options);
  const topics = topicsOf(options);
  const everywhere = new Set(records.map(({ topic }) => topic));
  const own = records.filter(({ topic, host }) =>
    topics.has(topic) && isHostName(host) &&
    !everywhere.has(queueFor(topic, host))
  );
  const since = Date.now() - expiry;
  const byHost = Map.groupBy(
    own,
    ({ topic, host }) => serviceKey({ topic, host, binary: "" }),
  );
  return [...byHost.values()]
    .filter((all) => all.every(({ updatedAt }) => updatedAt < since))
    .flatMap((all) => {
      const [first] = all;
      return first
        ? [{ topic: first.topic, host: first.host, records: all }]
        : [];
    });
}

/** A store may hold anything; `dead` as a host would be the dead letters of its topic. */
function isHostName(host: string): boolean {
  try {
    checkHost(host);
    return true;
  } catch {
    return false;
  }
}

/** Departed hosts of the topics of a service, by the records in its store. @module */
import { withDeadline } from "../async/deadline.ts";
import { queueFor } from "../transport/address.ts";
import type { TopicHost } from "../rpc/host_queues.ts";
import { checkHost } from "../names.ts";
import { serviceKey } from "../rpc/discovery/service_contract.ts";
import type {
  ServiceRecord,
  ServiceStore,
} from "../rpc/discovery/service_report.ts";
import { managersOf, type ServiceOptions } from "./service_options.ts";

/** Milliseconds for the store to list its records. */
const STORE_TIMEOUT_MS = 5_000;

/** Departed host of a topic, with its records in the store. */
export interface DepartedHost extends TopicHost {
  /** Records of the services of the host. */
  readonly records: readonly ServiceRecord[];
}

/** Returns the topics of a service. */
export const topicsOf = ({ manager }: ServiceOptions): ReadonlySet<string> =>
  new Set(managersOf(manager).map(({ contract }) => contract.topic));

/** Removes records, except those that have changed since they were read. */
export async function removeRecords(
  store: ServiceStore | undefined,
  records: readonly ServiceRecord[],
): Promise<void> {
  for (const record of records) {
    const now = await store?.get(record);
    const unchanged = now?.id === record.id &&
      now.updatedAt === record.updatedAt;
    if (unchanged) await store?.remove(record);
  }
}

/** Lists the records of the store. Throws if the store does not respond within `STORE_TIMEOUT_MS`. */
export async function readRecords(
  { store }: ServiceOptions,
): Promise<readonly ServiceRecord[]> {
  const deadline = { at: performance.now() + STORE_TIMEOUT_MS };
  const timeoutError = () =>
    new Error(`no response of the store within ${STORE_TIMEOUT_MS} ms`);
  return store ? await withDeadline(store.list(), deadline, timeoutError) : [];
}

/** Finds the hosts of the service's topics that have not reported for `expiry` milliseconds. */
export async function findDepartedHosts(
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

/**
 * True for a valid name of a host. A store may contain any text, and `dead` would name the dead-letter queue of the topic.
 */
function isHostName(host: string): boolean {
  try {
    checkHost(host);
    return true;
  } catch {
    return false;
  }
}

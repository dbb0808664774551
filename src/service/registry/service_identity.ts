/** Who a service is, in its reports and records. @module */
import { newId } from "../../contract/request_context.ts";
import type {
  ServiceKey,
  ServiceReport,
} from "../../rpc/discovery/service_report.ts";
import type { Contract } from "../../contract/types.ts";
import { workerNumber } from "../../config/worker_role.ts";

/** What a report says of a service at all times. */
export type Identity = Omit<
  ServiceReport,
  "topic" | "version" | "reportCount" | "state"
>;

/** A topic of a service, and in which version it is served. */
export type ServedTopic = Pick<ServiceReport, "topic" | "version">;

/** Something that serves a contract. */
interface Serving {
  readonly contract: Contract;
}

/** The parts of an identity that the user may give. */
interface IdentityOptions {
  readonly binary?: string | undefined;
  readonly zone?: string | undefined;
  readonly reportInterval?: number | undefined;
}

/** Milliseconds between two reports, unless said otherwise (Nova: `report_interval`). */
const INTERVAL = 10_000;

/** Milliseconds that lie between two runs of one process at least, however soon the second one starts. */
const APART = 0.001;
let lastStart = -Infinity;

/** Epoch milliseconds by the wall clock of now. A run is always later than an earlier one of this process. */
function startOfRun(): number {
  return lastStart = Math.max(Date.now(), lastStart + APART);
}

/** Of a service that starts now. */
export function identityOf(
  managers: readonly Serving[],
  host: string,
  { binary, zone, reportInterval: interval = INTERVAL }: IdentityOptions,
): Identity {
  return {
    id: newId(),
    host,
    binary: binary ?? managers[0]?.contract.topic ?? "",
    zone,
    worker: workerNumber(),
    interval,
    startedAt: startOfRun(),
  };
}

/** The topics of a service, each with the version of the program, or that of its first contract. */
export function topicsOf(
  managers: readonly Serving[],
  version: string | undefined,
): readonly ServedTopic[] {
  const topics = new Map<string, string>();
  for (const { contract } of managers) {
    if (topics.has(contract.topic)) continue;
    topics.set(contract.topic, version ?? contract.version);
  }
  return Array.from(topics, ([topic, version]) => ({ topic, version }));
}

/** What names its records. */
export function keysOf(
  { host, binary, worker }: Identity,
  topics: readonly ServedTopic[],
): readonly ServiceKey[] {
  return topics.map(({ topic }) => ({ host, topic, binary, worker }));
}

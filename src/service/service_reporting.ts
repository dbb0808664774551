/** What a service reports, of its parts. @module */
import type { ConnectionContext } from "../connection/connection_context.ts";
import type { ServiceState } from "../rpc/discovery/service_report.ts";
import { queueFor } from "../transport/address.ts";
import type { TaskState } from "./periodic/task_runner.ts";
import { RecordWriter } from "./registry/record_writer.ts";
import { Reporter } from "./registry/reporter.ts";
import {
  contractInfo,
  identityOf,
  keysOf,
  taskInfo,
  topicsOf,
} from "./registry/self_description.ts";
import { managersOf, type ServiceOptions } from "./service_options.ts";

/** A service, as far as it is reported. */
export interface ReportedService {
  /** Name of the host. */
  readonly host: string;
  /** Where it is in its life. */
  readonly state: ServiceState;
  /** What its managers do again and again. */
  readonly tasks: readonly TaskState[];
}

/** Options of the contexts that report and keep house: they serve but short questions. */
export const REPORTER_OPTIONS = {
  pooled: false,
  concurrency: 64,
  prefetch: 64,
  grace: 1_000,
  ledger: undefined,
} as const;

/** A service's reporter, and its records where it has a store. */
export interface Reporting {
  /** Tells of it. */
  readonly reporter: Reporter;
  /** Kept of it. */
  readonly records: RecordWriter | undefined;
}

/** Tells on `own` of a service that serves its managers on `connection`. */
export function createReporting(
  service: ReportedService,
  options: ServiceOptions,
  connection: ConnectionContext,
  own: ConnectionContext,
): Reporting {
  const managers = managersOf(options.manager);
  const identity = identityOf(managers, service.host, options);
  const topics = topicsOf(managers, options.version);
  const records = options.store &&
    new RecordWriter(options.store, keysOf(identity, topics), identity);
  const contracts = managers.map(({ contract }) => contractInfo(contract));
  const consumers = topics.flatMap(({ topic }) => [
    topic,
    queueFor(topic, service.host),
    `${topic}_fanout`,
  ]);
  const { prefetch = options.concurrency ?? connection.concurrency } = options;
  const process = { pid: Deno.pid, runtime: `deno ${Deno.version.deno}` };
  const reporter = new Reporter(own, {
    identity,
    topics,
    records,
    state: () => service.state,
    info: () => {
      const { concurrency } = connection;
      return { process, contracts, consumers, concurrency, prefetch };
    },
    stats: () => ({
      ...connection.stats,
      tasks: service.tasks.map(taskInfo),
    }),
  });
  return { reporter, records };
}

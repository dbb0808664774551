/** Creates the reporter of a service from its managers, options and connection. @module */
import type { ConnectionContext } from "../connection/connection_context.ts";
import type {
  ContractInfo,
  ServiceState,
} from "../rpc/discovery/service_report.ts";
import { queueFor } from "../transport/address.ts";
import { controlEndpoint } from "./control/control_endpoint.ts";
import type { PeriodicTasks } from "./periodic/periodic_tasks.ts";
import type { TaskState } from "./periodic/task_runner.ts";
import { RecordWriter } from "./registry/record_writer.ts";
import { Reporter } from "./registry/reporter.ts";
import {
  contractInfo,
  identityOf,
  keysOf,
  servedTopics,
  taskInfo,
} from "./registry/self_description.ts";
import type { Manager } from "./manager.ts";
import { managersOf, type ServiceOptions } from "./service_options.ts";

/** Members of a service that are reported. */
export interface ReportedService {
  /** Name of the host. */
  readonly host: string;
  /** Current state. */
  readonly state: ServiceState;
  /** Periodic tasks of the managers. */
  readonly tasks: readonly TaskState[];
}

/** Options of the connection contexts for reports and for the removal of queues, which serve short queries only. */
export const REPORTER_OPTIONS = {
  pooled: false,
  concurrency: 64,
  prefetch: 64,
  grace: 1_000,
  ledger: undefined,
} as const;

/** Contexts of a service, and its tasks. */
export interface ReportedContexts {
  readonly connection: ConnectionContext;
  readonly own: ConnectionContext;
  readonly periodic: readonly PeriodicTasks[];
}

/** Reporter of a service, and the writer of its records. */
export interface Reporting {
  /** Sends the reports and replies to queries. */
  readonly reporter: Reporter;
  /** Writer of the records; undefined without a store. */
  readonly records: RecordWriter | undefined;
}
/** Describes this process. */
const runtime = () => ({
  pid: Deno.pid,
  runtime: `deno ${Deno.version.deno}`,
});

/** Names of the queues of a topic that a service consumes. */
const queues = (topic: string, host: string) => [
  topic,
  queueFor(topic, host),
  `${topic}_fanout`,
];

/** Returns a function that finds the tasks of the managers of a topic. */
const tasksOf =
  (managers: readonly Manager[], periodic: readonly PeriodicTasks[]) =>
  (topic: string) =>
    periodic.filter((_, at) => managers[at]?.contract.topic === topic);

/**
 * Creates the reporter of a service whose managers serve on `connection`, with `periodic` tasks in the order of the managers.
 * The reporter uses the context `own`.
 */
export function createReporting(
  service: ReportedService,
  options: ServiceOptions,
  { connection, own, periodic }: ReportedContexts,
): Reporting {
  const managers = managersOf(options.manager);
  const identity = identityOf(managers, service.host, options);
  const topics = servedTopics(managers, options.version);
  const records = options.store &&
    new RecordWriter(options.store, keysOf(identity, topics), identity);
  let contracts: readonly ContractInfo[] | undefined;
  const consumers = topics.flatMap(({ topic }) => queues(topic, service.host));
  const { prefetch = options.concurrency ?? connection.concurrency } = options;
  const reporter = new Reporter(own, {
    identity,
    topics,
    records,
    control: controlEndpoint({
      ...{ identity, connection, allowed: options.remoteControl === true },
      topics: topics.map(({ topic }) => topic),
      tasksOf: tasksOf(managers, periodic),
    }),
    state: () => service.state,
    info: () => {
      const { concurrency } = connection;
      // The conversion to JSON Schema takes time, which the start of a service does not need.
      contracts ??= managers.map(({ contract }) => contractInfo(contract));
      return {
        process: runtime(),
        contracts,
        consumers,
        concurrency,
        prefetch,
      };
    },
    stats: () => ({ ...connection.stats, tasks: service.tasks.map(taskInfo) }),
  });
  return { reporter, records };
}

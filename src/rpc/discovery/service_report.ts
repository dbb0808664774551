/** Reports of services: what a service broadcasts about itself, and how it replies to queries. @module */
import type { ServerStats } from "../server_stats.ts";

/**
 * State of a service in its reports. `removed` is the last state of a service that was ended by `kill`. A service whose
 * reports stop is `down` for those that watch it.
 * @category Fleet
 */
export type ServiceState =
  | "starting"
  | "up"
  | "stopping"
  | "stopped"
  | "removed";

/**
 * Report that a service broadcasts at an interval, once for each of its topics (Nova: `service.py`, `report_state`).
 * @category Fleet
 */
export interface ServiceReport {
  /** Id of the run of the program; each restart has a new one. */
  readonly id: string;
  /** Name of the host. */
  readonly host: string;
  /** Topic that the service serves. */
  readonly topic: string;
  /** Name of the program. */
  readonly binary: string;
  /** Version of the program; default: the version of its contract. */
  readonly version: string;
  /** Number of reports so far. With a store, restarts do not reset it. */
  readonly reportCount: number;
  /** Place of the service, e.g. an availability zone. */
  readonly zone?: string | undefined;
  /** Name of the cell in which the service serves, by its option `cell`. */
  readonly cell?: string | undefined;
  /** Number of the worker process, under `launch`. */
  readonly worker?: number | undefined;
  /** State. */
  readonly state: ServiceState;
  /** Milliseconds between two reports; 0 = no reports. */
  readonly interval: number;
  /** Start of the service, in epoch milliseconds of its own clock. */
  readonly startedAt: number;
}

/**
 * Description of a procedure. A schema that has no equivalent in JSON Schema is `{}`.
 * @category Fleet
 */
export interface ProcedureInfo {
  /** JSON Schema (draft 2020-12) of the arguments; undefined if the procedure has none. */
  readonly args?: object | undefined;
  /** JSON Schema of the result. */
  readonly result?: object | undefined;
  /** JSON Schema of an item, if the procedure has a stream. */
  readonly yields?: object | undefined;
  /** First version of the contract that has the procedure. */
  readonly since: string;
  /** Acknowledgement after the handler (`at-least-once`) or before it (`at-most-once`). */
  readonly delivery: "at-least-once" | "at-most-once";
}

/**
 * Description of a contract.
 * @category Fleet
 */
export interface ContractInfo {
  /** Topic. */
  readonly topic: string;
  /** Version as `major.minor`. */
  readonly version: string;
  /** Namespace, which distinguishes contracts of one topic. */
  readonly namespace?: string | undefined;
  /** Procedures by their names. */
  readonly procedures: Readonly<Record<string, ProcedureInfo>>;
}

/**
 * Reply of a service to `info`.
 * @category Fleet
 */
export interface ServiceInfo {
  /** Process of the service. */
  readonly process: {
    /** Process id. */
    readonly pid: number;
    /** Runtime and its version. */
    readonly runtime: string;
  };
  /** Contracts that the service serves. */
  readonly contracts: readonly ContractInfo[];
  /** Names of the queues that the service consumes: `<topic>`, `<topic>.<host>`, `<topic>_fanout`. */
  readonly consumers: readonly string[];
  /** Maximum number of handlers that run at once. */
  readonly concurrency: number;
  /** Maximum number of unacknowledged requests of each consumer. */
  readonly prefetch: number;
}

/**
 * Description of a periodic task: see `TaskState`.
 * @category Fleet
 */
export interface TaskInfo {
  /** Name. */
  readonly name: string;
  /** Number of finished runs. */
  readonly runs: number;
  /** Number of finished runs that threw. */
  readonly failures: number;
  /** True while the task runs. */
  readonly running: boolean;
  /** Start of the last run, in epoch milliseconds. */
  readonly lastRun?: number | undefined;
  /** Start of the next run, in epoch milliseconds. */
  readonly nextRun?: number | undefined;
  /** Duration of the last run, in milliseconds. */
  readonly duration?: number | undefined;
  /** Error of the last run, in one line; undefined if the run succeeded. */
  readonly lastError?: string | undefined;
}

/**
 * Reply of a service to `stats`: counters of all its topics since its start.
 * @category Fleet
 */
export interface ServiceStats extends ServerStats {
  /** Periodic tasks of its managers. */
  readonly tasks: readonly TaskInfo[];
}

/**
 * Service as other processes see it.
 * @category Fleet
 */
export interface ServiceStatus extends Omit<ServiceReport, "state"> {
  /** State; `down` if its reports have stopped. */
  readonly state: ServiceState | "down";
  /** Milliseconds from the query to the reply, if the service was queried. */
  readonly roundTrip?: number | undefined;
  /** Details of `ask: "info"`. */
  readonly info?: ServiceInfo | undefined;
  /** Counters of `ask: "stats"`. */
  readonly stats?: ServiceStats | undefined;
}

/**
 * Report in a store.
 * @category Fleet
 */
export interface ServiceRecord extends ServiceReport {
  /** Time of the report, in epoch milliseconds of the service's clock. */
  readonly updatedAt: number;
}

/**
 * Key of a record: one service of one host, over all its restarts.
 * @category Fleet
 */
export interface ServiceKey {
  /** Name of the host. */
  readonly host: string;
  /** Topic that the service serves. */
  readonly topic: string;
  /** Name of the program. */
  readonly binary: string;
  /** Number of the worker process, under `launch`. */
  readonly worker?: number | undefined;
}

/**
 * Store of service records, which also has the services that have stopped (Nova: the `services` table). Errors that a
 * store throws are logged, and never fail the service.
 * @category Fleet
 */
export interface ServiceStore {
  /** Returns the record of a key; undefined if there is none. */
  get(key: ServiceKey): Promise<ServiceRecord | undefined>;
  /** Writes a record; it replaces an older one with the same key. */
  put(record: ServiceRecord): Promise<void>;
  /** Removes the record of a key; false if there is none. */
  remove(key: ServiceKey): Promise<boolean>;
  /** Returns all records. */
  list(): Promise<readonly ServiceRecord[]>;
}

/** What a service tells of itself, to its fleet and to whoever asks. @module */
import type { ServerStats } from "../server_stats.ts";

/**
 * Where a service is in its life, by its own word: `removed` is the last one of a service that was ended by `kill`. A
 * service that says nothing any more is `down` to those who listen.
 * @category Fleet
 */
export type ServiceState =
  | "starting"
  | "up"
  | "stopping"
  | "stopped"
  | "removed";

/**
 * What a service broadcasts at an interval, once for each of its topics (Nova: `service.py`, `report_state`).
 * @category Fleet
 */
export interface ServiceReport {
  /** Which run of the program: another one after each restart. */
  readonly id: string;
  /** Name of the host. */
  readonly host: string;
  /** What it serves. */
  readonly topic: string;
  /** Name of the program. */
  readonly binary: string;
  /** Version of the program; by default that of its contract. */
  readonly version: string;
  /** Reports so far. With a store they are counted on over restarts. */
  readonly reportCount: number;
  /** Where it runs, e.g. an availability zone. */
  readonly zone?: string | undefined;
  /** Number of the worker of `launch`. */
  readonly worker?: number | undefined;
  /** Where it is in its life. */
  readonly state: ServiceState;
  /** Milliseconds between two reports; 0 = it sends none. */
  readonly interval: number;
  /** When it started: epoch milliseconds of its clock. */
  readonly startedAt: number;
}

/**
 * A procedure of a contract, as it is told. A schema that has no JSON Schema is `{}`.
 * @category Fleet
 */
export interface ProcedureInfo {
  /** JSON Schema (draft 2020-12) of the arguments; undefined if it takes none. */
  readonly args?: object | undefined;
  /** JSON Schema of the result. */
  readonly result?: object | undefined;
  /** JSON Schema of an item, if it streams. */
  readonly yields?: object | undefined;
  /** First version of the contract that has it. */
  readonly since: string;
  /** When it is acknowledged. */
  readonly delivery: "at-least-once" | "at-most-once";
}

/**
 * A contract, as it is told.
 * @category Fleet
 */
export interface ContractInfo {
  /** Where it is served. */
  readonly topic: string;
  /** `major.minor`. */
  readonly version: string;
  /** Tells apart contracts of one topic. */
  readonly namespace?: string | undefined;
  /** By name. */
  readonly procedures: Readonly<Record<string, ProcedureInfo>>;
}

/**
 * What a service answers to `info`.
 * @category Fleet
 */
export interface ServiceInfo {
  /** Of its program. */
  readonly process: {
    /** Its number on the host. */
    readonly pid: number;
    /** The runtime and its version. */
    readonly runtime: string;
  };
  /** What it serves. */
  readonly contracts: readonly ContractInfo[];
  /** Names of what it consumes: `<topic>`, `<topic>.<host>`, `<topic>_fanout`. */
  readonly consumers: readonly string[];
  /** Handlers at once. */
  readonly concurrency: number;
  /** Unacknowledged requests for each consumer. */
  readonly prefetch: number;
}

/**
 * A periodic task, as it is told: see `TaskState`.
 * @category Fleet
 */
export interface TaskInfo {
  /** Its name. */
  readonly name: string;
  /** Runs that ended. */
  readonly runs: number;
  /** Those of them that threw. */
  readonly failures: number;
  /** True while it runs. */
  readonly running: boolean;
  /** Start of the last run, epoch milliseconds. */
  readonly lastRun?: number | undefined;
  /** Start of the next run, epoch milliseconds. */
  readonly nextRun?: number | undefined;
  /** Milliseconds that the last run took. */
  readonly duration?: number | undefined;
  /** What the last run threw, in one line; undefined if it went well. */
  readonly lastError?: string | undefined;
}

/**
 * What a service answers to `stats`, over all its topics since its start.
 * @category Fleet
 */
export interface ServiceStats extends ServerStats {
  /** What its managers do again and again. */
  readonly tasks: readonly TaskInfo[];
}

/**
 * A service as others see it.
 * @category Fleet
 */
export interface ServiceStatus extends Omit<ServiceReport, "state"> {
  /** Where it is in its life; `down` if it has said nothing for too long. */
  readonly state: ServiceState | "down";
  /** Milliseconds from the question to the answer, where it was asked. */
  readonly roundTrip?: number | undefined;
  /** With `ask: "info"`. */
  readonly info?: ServiceInfo | undefined;
  /** With `ask: "stats"`. */
  readonly stats?: ServiceStats | undefined;
}

/**
 * A report as a store keeps it.
 * @category Fleet
 */
export interface ServiceRecord extends ServiceReport {
  /** When it was written: epoch milliseconds of the service's clock. */
  readonly updatedAt: number;
}

/**
 * What names a record: one service of one host, over all its runs.
 * @category Fleet
 */
export interface ServiceKey {
  /** Name of the host. */
  readonly host: string;
  /** What it serves. */
  readonly topic: string;
  /** Name of the program. */
  readonly binary: string;
  /** Number of the worker of `launch`. */
  readonly worker?: number | undefined;
}

/**
 * Where services leave their records, so that others find those that are not there any more (Nova: the `services` table).
 * What it throws is logged, and never a failure of the service.
 * @category Fleet
 */
export interface ServiceStore {
  /** The record of that key; undefined if there is none. */
  get(key: ServiceKey): Promise<ServiceRecord | undefined>;
  /** Writes a record in place of the one with its key, if there is one. */
  put(record: ServiceRecord): Promise<void>;
  /** Removes the record of that key; false if there is none. */
  remove(key: ServiceKey): Promise<boolean>;
  /** All records. */
  list(): Promise<readonly ServiceRecord[]>;
}

/**
 * Reports a service: broadcasts its state at an interval, and replies to queries (Nova: `service.py`, `report_state`).
 *
 * @module
 */
import { TopologyError } from "../../errors.ts";
import { logger } from "../../logging.ts";
import type { ConnectionContext } from "../../connection/connection_context.ts";
import { RpcDispatcher } from "../../rpc/dispatch/dispatcher.ts";
import {
  matchesFilter,
  registryContract,
  REPORT,
  REPORTS,
  type SentAnswer,
  sentStats,
  type ServiceFilter,
} from "../../rpc/discovery/service_contract.ts";
import type {
  ServiceInfo,
  ServiceReport,
  ServiceState,
  ServiceStats,
} from "../../rpc/discovery/service_report.ts";
import type { Endpoint } from "../../contract/types.ts";
import { PeriodicTasks } from "../periodic/periodic_tasks.ts";
import type { RecordWriter } from "./record_writer.ts";
import type { Identity, ServedTopic } from "./self_description.ts";

/** Data of a service that is reported. */
export interface ServiceDescription {
  /** Members of a report that never change during a run. */
  readonly identity: Identity;
  /** Topics of the service; there is one report for each. */
  readonly topics: readonly ServedTopic[];
  /** Writer of the records, if the service has a store. */
  readonly records?: RecordWriter | undefined;
  /** Current state. */
  state(): ServiceState;
  /** Contracts and settings, for the query `info`. */
  info(): ServiceInfo;
  /** Counters, for the query `stats`. */
  stats(): ServiceStats;
  /** Endpoint of the commands of operators, which come the same way as queries. */
  readonly control: Endpoint;
}

/** True if the broker's user lacks the permission for the registry's queues. The service runs without them then. */
function isForbidden(error: unknown): error is TopologyError {
  return error instanceof TopologyError && error.data.reason === "forbidden";
}

/** Milliseconds for a report to reach the broker. */
const TIMEOUT_MS = 1_000;

/** Reports one service until disposed, over a connection context of its own, so that busy handlers do not delay it. */
export class Reporter implements AsyncDisposable {
  readonly #connection: ConnectionContext;
  readonly #service: ServiceDescription;
  #count = 0;
  #periodic: PeriodicTasks | undefined;

  /** Creates a reporter, which reports nothing before `start`. The reporter disposes the context. */
  constructor(connection: ConnectionContext, reported: ServiceDescription) {
    this.#connection = connection;
    this.#service = reported;
  }

  /** Starts to reply to queries, and to report if the service has an interval. */
  async start(): Promise<void> {
    const { records, identity: { interval: every } } = this.#service;
    await records?.open();
    await this.#serveQueries().catch((error) => {
      if (!isForbidden(error)) throw error;
      const { message: reason } = error;
      logger("service").warn("This service cannot be queried: {reason}", {
        reason,
      });
    });
    void this.report();
    const run = () => this.#reportWhileRunning();
    const tasks = every > 0 ? [{ name: "report_state", every, run }] : [];
    this.#periodic = new PeriodicTasks(tasks);
  }

  /** Reports the current state now. Resolves after two seconds at the latest, and never rejects. */
  async report(): Promise<void> {
    this.#count++;
    const { records, state } = this.#service;
    const reports = () => this.#reports();
    const recorded = state() === "removed"
      ? records?.remove()
      : records?.write(reports);
    await Promise.all([this.#broadcast(), recorded]);
  }

  /** Reports, unless the service has ended: its last report is under way then, and a store that hangs must not delay the stop twice. */
  async #reportWhileRunning(): Promise<void> {
    const state = this.#service.state();
    if (state !== "stopped" && state !== "removed") await this.report();
  }

  /** Stops reporting and disposes the connection context. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#periodic?.[Symbol.asyncDispose]();
    await this.#connection[Symbol.asyncDispose]();
  }

  /** Consumes queries. */
  async #serveQueries(): Promise<void> {
    const dispatcher = new RpcDispatcher([
      this.#endpoint(),
      this.#service.control,
    ]);
    const { topic } = registryContract;
    await this.#connection.createConsumer(topic, dispatcher, { fanout: true });
    await this.#connection.consume();
  }

  /** Creates the endpoint of the registry contract. Reports that do not match the filter of a query are omitted. */
  #endpoint() {
    const { info, stats } = this.#service;
    const reply = (details: Omit<SentAnswer, "reports"> = {}) =>
    (
      filter: ServiceFilter,
    ): SentAnswer => {
      const reports = this.#reports().filter((each) =>
        matchesFilter(filter, each)
      );
      return reports.length > 0 ? { reports, ...details } : { reports };
    };
    return {
      contract: registryContract,
      ping: reply(),
      info: (filter: ServiceFilter) => reply({ info: info() })(filter),
      stats: (filter: ServiceFilter) =>
        reply({ stats: sentStats(stats()) })(filter),
    };
  }

  #reports(): readonly ServiceReport[] {
    const { identity, topics, records } = this.#service;
    const reportCount = this.#count + (records?.earlierReports ?? 0);
    const state = this.#service.state();
    return topics.map((topic) => ({
      ...identity,
      ...topic,
      reportCount,
      state,
    }));
  }

  /** Broadcasts the reports. A failure is only logged, since the next report has the same content. */
  async #broadcast(): Promise<void> {
    const args = { reports: this.#reports() };
    const options = { timeout: TIMEOUT_MS };
    try {
      await this.#connection.fanoutCast(REPORTS, REPORT, args, options);
    } catch (error) {
      logger("service").debug("A report was not sent: {error}", {
        error,
      });
    }
  }
}

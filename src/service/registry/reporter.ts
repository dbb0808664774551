/** What a service tells of itself: at an interval, and to whoever asks (Nova: `service.py`, `report_state`). @module */
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
import { PeriodicTasks } from "../periodic/periodic_tasks.ts";
import type { RecordWriter } from "./record_writer.ts";
import type { Identity, ServedTopic } from "./self_description.ts";

/** Of what is reported. */
export interface ServiceDescription {
  /** Who it is. */
  readonly identity: Identity;
  /** What it serves: a report for each. */
  readonly topics: readonly ServedTopic[];
  /** Where records are kept. */
  readonly records?: RecordWriter | undefined;
  /** Where it is in its life. */
  state(): ServiceState;
  /** What it serves, in full. */
  info(): ServiceInfo;
  /** What it has done. */
  stats(): ServiceStats;
}

/** True where the broker's user has no right to the queues of the fleet: that is no reason not to serve. */
function isForbidden(error: unknown): error is TopologyError {
  return error instanceof TopologyError && error.data.reason === "forbidden";
}

/** Milliseconds that a report may take to get to the broker. */
const TIMEOUT_MS = 1_000;

/** Tells of one service until disposed, over a connection context of its own: busy handlers do not keep it waiting. */
export class Reporter implements AsyncDisposable {
  readonly #connection: ConnectionContext;
  readonly #service: ServiceDescription;
  #count = 0;
  #periodic: PeriodicTasks | undefined;

  /** Says nothing before `start`. The context is the reporter's from now on. */
  constructor(connection: ConnectionContext, reported: ServiceDescription) {
    this.#connection = connection;
    this.#service = reported;
  }

  /** Answers from now on, and reports, if the service has an interval. */
  async start(): Promise<void> {
    const { records, identity: { interval: every } } = this.#service;
    await records?.open();
    await this.#serveQueries().catch((error) => {
      if (!isForbidden(error)) throw error;
      const { message: reason } = error;
      logger("service").warn("Nobody can ask this service: {reason}", {
        reason,
      });
    });
    const run = () => this.report();
    void run();
    const tasks = every > 0 ? [{ name: "report_state", every, run }] : [];
    this.#periodic = new PeriodicTasks(tasks);
  }

  /** Says now where the service is in its life; takes a second or two, and never fails. */
  async report(): Promise<void> {
    this.#count++;
    const { records, state } = this.#service;
    const reports = () => this.#reports();
    const recorded = state() === "removed"
      ? records?.remove()
      : records?.write(reports);
    await Promise.all([this.#broadcast(), recorded]);
  }

  /** Reports no more. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#periodic?.[Symbol.asyncDispose]();
    await this.#connection[Symbol.asyncDispose]();
  }

  async #serveQueries(): Promise<void> {
    const dispatcher = new RpcDispatcher([this.#endpoint()]);
    const { topic } = registryContract;
    await this.#connection.createConsumer(topic, dispatcher, { fanout: true });
    await this.#connection.consume();
  }

  #endpoint() {
    const { info, stats } = this.#service;
    const answer = (more: Omit<SentAnswer, "reports"> = {}) =>
    (
      filter: ServiceFilter,
    ): SentAnswer => {
      const reports = this.#reports().filter((each) =>
        matchesFilter(filter, each)
      );
      return reports.length > 0 ? { reports, ...more } : { reports };
    };
    return {
      contract: registryContract,
      ping: answer(),
      info: (filter: ServiceFilter) => answer({ info: info() })(filter),
      stats: (filter: ServiceFilter) =>
        answer({ stats: sentStats(stats()) })(filter),
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

  /** One that does not get through is made up for by the next. */
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

/** Service tracker: the live view of all services, built from their reports. It notifies once of each change. @module */
import { logger } from "../../logging.ts";
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import {
  matchesFilter,
  type ServiceFilter,
  serviceKey,
} from "./service_contract.ts";
import type {
  ServiceRecord,
  ServiceReport,
  ServiceStatus,
} from "./service_report.ts";

/** Missed intervals after which a service is down (Nova: `service_down_time`, six intervals). */
const MISSED_REPORTS = 3;

/** Maximum number of tracked services. */
const MAX_SERVICES = 20_000;

/** Service that has not stopped, with the timer that expires when its reports stop. */
interface TrackedService {
  readonly report: ServiceReport;
  readonly downTimer: Timer;
}

const hasStopped = ({ state }: ServiceReport) =>
  state === "stopped" || state === "removed";

/** Milliseconds without a further report after which a service is down. */
function downAfter({ interval }: ServiceReport): number {
  return interval === 0 ? Infinity : MISSED_REPORTS * interval;
}

/** Keeps the last report of each service that a filter matches. */
export class ServiceTracker implements Disposable {
  readonly #filter: ServiceFilter;
  readonly #watch: boolean;
  readonly #notify: (status: ServiceStatus) => void;
  readonly #alive = new Map<string, TrackedService>();
  /** Start of the newest run of each service, in epoch milliseconds. */
  readonly #newest = new Map<string, number>();
  #flooded = false;
  #isDisposed = false;
  /** Keys of services that reported before the store was read; undefined once it was read, or if there is none. */
  #reported: Set<string> | undefined = new Set();

  /**
   * Notifies of the services that the filter matches. If `watch` is true, it also notifies when the reports of a
   * service stop.
   */
  constructor(
    filter: ServiceFilter,
    watch: boolean,
    notify: (status: ServiceStatus) => void,
  ) {
    this.#filter = filter;
    this.#watch = watch;
    this.#notify = notify;
  }

  /** Handles the report of a service. A reply to a query, which has `more` than a report, is notified in any case. */
  onReport(report: ServiceReport, more?: Partial<ServiceStatus>): void {
    if (this.#isDisposed || !matchesFilter(this.#filter, report)) return;
    const before = this.#keep(report, downAfter(report));
    if (more || before?.state !== report.state) {
      this.#notify({ ...report, ...more });
    }
  }

  /** Notes that there is no store, so that no keys have to be remembered for it. */
  skipStore(): void {
    this.#reported = undefined;
  }

  /**
   * Handles the records of a store, for services that have not reported themselves. A record whose next reports are
   * overdue means that the service is down.
   */
  onRecord(records: readonly ServiceRecord[]): void {
    const reported = this.#reported;
    this.#reported = undefined;
    for (const { updatedAt, ...report } of records) {
      if (this.#isDisposed) return;
      if (!matchesFilter(this.#filter, report)) continue;
      if (reported?.has(serviceKey(report))) continue;
      const remaining = updatedAt + MISSED_REPORTS * report.interval -
        Date.now();
      const down = !hasStopped(report) && remaining <= 0;
      if (!down) this.#keep(report, remaining);
      this.#notify(down ? { ...report, state: "down" } : report);
    }
  }

  /** Ends the timers; later reports are ignored. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    for (const { downTimer } of this.#alive.values()) clearDeadline(downTimer);
    this.#alive.clear();
  }

  /** Stores a report until its service stops or is down; returns the previous report. */
  #keep(report: ServiceReport, remaining: number): ServiceReport | undefined {
    const run = JSON.stringify([report.id, report.topic]);
    const key = serviceKey(report);
    const before = this.#forget(run);
    if (this.#reported && this.#reported.size < MAX_SERVICES) {
      this.#reported.add(key);
    }
    if (hasStopped(report)) return before;
    const { startedAt } = report;
    const newest = this.#newest.get(key) ?? startedAt;
    this.#newest.set(key, Math.max(newest, startedAt));
    const at = this.#watch ? performance.now() + remaining : Infinity;
    const downTimer = setDeadline(at, () => this.#markDown(run));
    this.#alive.set(run, { report, downTimer });
    if (this.#alive.size > MAX_SERVICES) this.#forgetOldest();
    return before;
  }

  #forget(run: string): ServiceReport | undefined {
    const { report, downTimer } = this.#alive.get(run) ?? {};
    if (!report || !downTimer) return undefined;
    clearDeadline(downTimer);
    this.#alive.delete(run);
    const key = serviceKey(report);
    if (this.#newest.get(key) === report.startedAt) this.#newest.delete(key);
    return report;
  }

  /** Forgets the oldest service. No real bus has so many services, so a sender must invent them. */
  #forgetOldest(): void {
    const [oldest] = this.#alive.keys();
    if (oldest !== undefined) this.#forget(oldest);
    if (!this.#flooded) {
      logger("rpc").warn(`More than ${MAX_SERVICES} services report`);
    }
    this.#flooded = true;
  }

  /** Notifies that a service is down, unless a newer run of the service has reported, which means that it was restarted. */
  #markDown(run: string): void {
    const report = this.#forget(run);
    if (!report) return;
    const newest = this.#newest.get(serviceKey(report)) ?? 0;
    if (newest <= report.startedAt) this.#notify({ ...report, state: "down" });
  }
}

/** Which services there are, as far as they were heard of: what is new of them is told once. @module */
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

/** Intervals without a report after which a service is down (Nova: `service_down_time`, six of them). */
const MISSED_REPORTS = 3;

/** Services that are watched at once, at most. */
const MAX_SERVICES = 20_000;

/** A service that lives. */
interface TrackedService {
  readonly report: ServiceReport;
  readonly silence: Timer;
}

const ended = ({ state }: ServiceReport) =>
  state === "stopped" || state === "removed";

/** Milliseconds until a service that reported just now is down. */
function patience({ interval }: ServiceReport): number {
  return interval === 0 ? Infinity : MISSED_REPORTS * interval;
}

/** Keeps what was heard last of each service that is meant. */
export class ServiceTracker implements Disposable {
  readonly #meant: ServiceFilter;
  readonly #watch: boolean;
  readonly #tell: (status: ServiceStatus) => void;
  readonly #alive = new Map<string, TrackedService>();
  /** When the newest run of each of them started. */
  readonly #newest = new Map<string, number>();
  #flooded = false;
  /** Who was heard of before the store was asked. */
  #known: Set<string> | undefined = new Set();

  /** Tells of services that are meant; of their silence too, if they are watched. */
  constructor(
    meant: ServiceFilter,
    watch: boolean,
    tell: (status: ServiceStatus) => void,
  ) {
    this.#meant = meant;
    this.#watch = watch;
    this.#tell = tell;
  }

  /** A service said this, in answer to a question if there is more than the report: an answer is always told. */
  onReport(report: ServiceReport, more?: Partial<ServiceStatus>): void {
    if (!matchesFilter(this.#meant, report)) return;
    const before = this.#keep(report, patience(report));
    if (more || before?.state !== report.state) {
      this.#tell({ ...report, ...more });
    }
  }

  /** There is no store: who was heard of need not be remembered for it. */
  alone(): void {
    this.#known = undefined;
  }

  /** What a store has of services that were not heard of themselves. One that should have reported since is down. */
  onRecord(records: readonly ServiceRecord[]): void {
    const known = this.#known;
    this.#known = undefined;
    for (const { updatedAt, ...report } of records) {
      if (!matchesFilter(this.#meant, report)) continue;
      if (known?.has(serviceKey(report))) continue;
      const left = updatedAt + MISSED_REPORTS * report.interval - Date.now();
      const down = !ended(report) && left <= 0;
      if (!down) this.#keep(report, left);
      this.#tell(down ? { ...report, state: "down" } : report);
    }
  }

  [Symbol.dispose](): void {
    for (const { silence } of this.#alive.values()) clearDeadline(silence);
    this.#alive.clear();
  }

  /** Remembers it while it lives; gives what it said before. */
  #keep(report: ServiceReport, silent: number): ServiceReport | undefined {
    const run = JSON.stringify([report.id, report.topic]);
    const key = serviceKey(report);
    const before = this.#forget(run);
    if (this.#known && this.#known.size < MAX_SERVICES) this.#known.add(key);
    if (ended(report)) return before;
    const { startedAt } = report;
    const newest = this.#newest.get(key) ?? startedAt;
    this.#newest.set(key, Math.max(newest, startedAt));
    const at = this.#watch ? performance.now() + silent : Infinity;
    const silence = setDeadline(at, () => this.#markDown(run));
    this.#alive.set(run, { report, silence });
    if (this.#alive.size > MAX_SERVICES) this.#forgetOldest();
    return before;
  }

  #forget(run: string): ServiceReport | undefined {
    const { report, silence } = this.#alive.get(run) ?? {};
    if (!report || !silence) return undefined;
    clearDeadline(silence);
    this.#alive.delete(run);
    const key = serviceKey(report);
    if (this.#newest.get(key) === report.startedAt) this.#newest.delete(key);
    return report;
  }

  /** Nobody has so many services: somebody makes them up. */
  #forgetOldest(): void {
    const [oldest] = this.#alive.keys();
    if (oldest !== undefined) this.#forget(oldest);
    if (!this.#flooded) {
      logger("rpc").warn(`More than ${MAX_SERVICES} services report`);
    }
    this.#flooded = true;
  }

  /** One whose next run has reported is not down: it was replaced. */
  #markDown(run: string): void {
    const report = this.#forget(run);
    if (!report) return;
    const newest = this.#newest.get(serviceKey(report)) ?? 0;
    if (newest <= report.startedAt) this.#tell({ ...report, state: "down" });
  }
}

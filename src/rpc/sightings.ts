/** Which services there are, as far as they were heard of: what is new of them is told once. @module */
import { expireAt, forget, type Waiting } from "../deadlines.ts";
import { keyText, meant, type ServiceFilter } from "./service_contract.ts";
import type {
  ServiceRecord,
  ServiceReport,
  ServiceStatus,
} from "./service_report.ts";

/** Intervals without a report after which a service is down (Nova: `service_down_time`, six of them). */
const MISSED = 3;

/** A service that lives. */
interface Sighting {
  readonly report: ServiceReport;
  readonly silence: Waiting;
}

const ended = ({ state }: ServiceReport) =>
  state === "stopped" || state === "removed";

/** Milliseconds until a service that reported just now is down. */
function patience({ interval }: ServiceReport): number {
  return interval === 0 ? Infinity : MISSED * interval;
}

/** Keeps what was heard last of each service that is meant. */
export class Sightings implements Disposable {
  readonly #meant: ServiceFilter;
  readonly #watch: boolean;
  readonly #tell: (status: ServiceStatus) => void;
  readonly #alive = new Map<string, Sighting>();
  /** Who was heard of, over all runs. */
  readonly #known = new Set<string>();

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
  heard(report: ServiceReport, more?: Partial<ServiceStatus>): void {
    if (!meant(this.#meant, report)) return;
    const before = this.#keep(report, patience(report));
    if (more || before?.state !== report.state) {
      this.#tell({ ...report, ...more });
    }
  }

  /** What a store has of services that were not heard of themselves. One that should have reported since is down. */
  recorded(records: readonly ServiceRecord[]): void {
    for (const { updatedAt, ...report } of records) {
      if (!meant(this.#meant, report)) continue;
      if (this.#known.has(keyText(report))) continue;
      const left = updatedAt + MISSED * report.interval - Date.now();
      const down = !ended(report) && left <= 0;
      if (!down) this.#keep(report, left);
      this.#tell(down ? { ...report, state: "down" } : report);
    }
  }

  [Symbol.dispose](): void {
    for (const { silence } of this.#alive.values()) forget(silence);
    this.#alive.clear();
  }

  /** Remembers it while it lives; gives what it said before. */
  #keep(report: ServiceReport, silent: number): ServiceReport | undefined {
    const run = JSON.stringify([report.id, report.topic]);
    const before = this.#alive.get(run);
    if (before) forget(before.silence);
    this.#alive.delete(run);
    this.#known.add(keyText(report));
    if (!ended(report)) {
      const silence = expireAt(
        this.#watch ? performance.now() + silent : Infinity,
        () => this.#silent(run),
      );
      this.#alive.set(run, { report, silence });
    }
    return before?.report;
  }

  /** One whose next run has reported is not down: it was replaced. */
  #silent(run: string): void {
    const report = this.#alive.get(run)?.report;
    if (!report || !this.#alive.delete(run)) return;
    const key = keyText(report);
    const follows = (other: ServiceReport) =>
      keyText(other) === key && other.startedAt > report.startedAt;
    const others = [...this.#alive.values()];
    if (others.some(({ report }) => follows(report))) return;
    this.#tell({ ...report, state: "down" });
  }
}

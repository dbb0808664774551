/** The records of a service in its store, which may be away at any time (Nova: `service.py`, `report_state`). @module */
import { logger, oneLine } from "../../logging.ts";
import { withDeadline } from "../../async/deadline.ts";
import type {
  ServiceKey,
  ServiceRecord,
  ServiceReport,
  ServiceStore,
} from "../../rpc/discovery/service_report.ts";

/** Milliseconds that a store is waited for, and until it may be told something else: what hangs may never end. */
const TIMEOUT_MS = 2_000;
const ATTEMPT_TIMEOUT_MS = 5_000;

function withTimeout(work: Promise<void>, ms: number): Promise<void> {
  const late = () => new Error(`no answer within ${ms} ms`);
  return withDeadline(work, { at: performance.now() + ms }, late);
}

/** Keeps the records of one run of a service; nothing of it fails. */
export class RecordWriter {
  readonly #store: ServiceStore;
  readonly #keys: readonly ServiceKey[];
  readonly #run: Pick<ServiceReport, "id" | "startedAt">;
  /** What the store should be told next: the newest alone. */
  #pending: (() => Promise<void>) | undefined;
  /** While the store is told something: one thing at a time. */
  #writing: Promise<void> | undefined;
  #unavailable = false;
  /** Reports of earlier runs; undefined while the store has not said. */
  #earlierReports: number | undefined;

  /** Of the records with these keys, by one run. */
  constructor(
    store: ServiceStore,
    keys: readonly ServiceKey[],
    run: Pick<ServiceReport, "id" | "startedAt">,
  ) {
    this.#store = store;
    this.#keys = keys;
    this.#run = run;
  }

  /** Reports of earlier runs, as far as the store has said. */
  get earlierReports(): number {
    return this.#earlierReports ?? 0;
  }

  /** Asks for the reports of earlier runs. */
  open(): Promise<void> {
    return this.#enqueue(() => this.#readEarlierReports());
  }

  /** Writes what a service reports; a record that was lost is made anew. */
  write(reports: () => readonly ServiceReport[]): Promise<void> {
    return this.#enqueue(async () => {
      await this.#readEarlierReports();
      const updatedAt = Date.now();
      for (const report of reports()) {
        if (this.#isSuccessor(await this.#store.get(report))) continue;
        await this.#store.put({ ...report, updatedAt });
      }
    });
  }

  /** Removes them. */
  remove(): Promise<void> {
    return this.#enqueue(async () => {
      for (const key of this.#keys) {
        if (this.#isSuccessor(await this.#store.get(key))) continue;
        await this.#store.remove(key);
      }
    });
  }

  /** A successor that is there already has the last word. */
  #isSuccessor(record: ServiceRecord | undefined): boolean {
    const { id, startedAt } = this.#run;
    return record !== undefined && record.id !== id &&
      record.startedAt > startedAt;
  }

  async #readEarlierReports(): Promise<void> {
    if (this.#earlierReports !== undefined) return;
    const known = await Promise.all(
      this.#keys.map((key) => this.#store.get(key)),
    );
    this.#earlierReports = Math.max(
      0,
      ...known.map((one) => one?.reportCount ?? 0),
    );
  }

  /** Resolves when the store has been told, or has taken too long: then it is told as soon as it can be. */
  async #enqueue(work: () => Promise<void>): Promise<void> {
    this.#pending = work;
    this.#writing ??= this.#runPending();
    await withTimeout(this.#writing, TIMEOUT_MS).catch((error) =>
      this.#onFailure(error)
    );
  }

  async #runPending(): Promise<void> {
    for (let work; (work = this.#pending);) {
      this.#pending = undefined;
      try {
        await withTimeout(Promise.try(work), ATTEMPT_TIMEOUT_MS);
        this.#onSuccess();
      } catch (error) {
        this.#onFailure(error);
      }
    }
    this.#writing = undefined;
  }

  /** That the store is away is said once, and once that it is back. */
  #onFailure(error: unknown): void {
    if (this.#unavailable) return;
    this.#unavailable = true;
    const reason = oneLine(error instanceof Error ? error.message : error);
    logger("service").warn("The store of services is away: {reason}", {
      reason,
    });
  }

  #onSuccess(): void {
    if (this.#unavailable) {
      logger("service").info("The store of services is back");
    }
    this.#unavailable = false;
  }
}

/**
 * Writes the records of a service to its store, which may be unavailable at any time (Nova: `service.py`, `report_state`).
 *
 * @module
 */
import { logger, oneLine } from "../../logging.ts";
import { withDeadline } from "../../async/deadline.ts";
import type {
  ServiceKey,
  ServiceRecord,
  ServiceReport,
  ServiceStore,
} from "../../rpc/discovery/service_report.ts";

/** Milliseconds that a caller waits for the store. */
const TIMEOUT_MS = 2_000;
/** Milliseconds after which the next write starts although the last one has not ended, because it may never end. */
const ATTEMPT_TIMEOUT_MS = 5_000;

function withTimeout(work: Promise<void>, ms: number): Promise<void> {
  const timeoutError = () => new Error(`no response within ${ms} ms`);
  return withDeadline(work, { at: performance.now() + ms }, timeoutError);
}

/** Writes the records of one run of a service. Its methods never reject; errors of the store are logged. */
export class RecordWriter {
  readonly #store: ServiceStore;
  readonly #keys: readonly ServiceKey[];
  readonly #run: Pick<ServiceReport, "id" | "startedAt">;
  /** Next operation; a newer one replaces it. */
  #pending: (() => Promise<void>) | undefined;
  /** Present while operations run, one at a time. */
  #writing: Promise<void> | undefined;
  #unavailable = false;
  /** Number of reports of earlier runs; undefined until it has been read from the store. */
  #earlierReports: number | undefined;

  /** Creates a writer for the records with these keys, on behalf of one run of the service. */
  constructor(
    store: ServiceStore,
    keys: readonly ServiceKey[],
    run: Pick<ServiceReport, "id" | "startedAt">,
  ) {
    this.#store = store;
    this.#keys = keys;
    this.#run = run;
  }

  /** Number of reports of earlier runs; 0 until it has been read from the store. */
  get earlierReports(): number {
    return this.#earlierReports ?? 0;
  }

  /** Reads the number of reports of earlier runs. */
  open(): Promise<void> {
    return this.#enqueue(() => this.#readEarlierReports());
  }

  /** Writes reports. A record that is missing in the store is created again. */
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

  /** Removes the records. */
  remove(): Promise<void> {
    return this.#enqueue(async () => {
      for (const key of this.#keys) {
        if (this.#isSuccessor(await this.#store.get(key))) continue;
        await this.#store.remove(key);
      }
    });
  }

  /** True for a record of a later run, which must be neither overwritten nor removed. */
  #isSuccessor(record: ServiceRecord | undefined): boolean {
    const { id, startedAt } = this.#run;
    return record !== undefined && record.id !== id &&
      record.startedAt > startedAt;
  }

  async #readEarlierReports(): Promise<void> {
    if (this.#earlierReports !== undefined) return;
    const records = await Promise.all(
      this.#keys.map((key) => this.#store.get(key)),
    );
    this.#earlierReports = Math.max(
      0,
      ...records.map((record) => record?.reportCount ?? 0),
    );
  }

  /** Resolves when the operation has run, or after `TIMEOUT_MS`; it then runs as soon as the store is available. */
  async #enqueue(work: () => Promise<void>): Promise<void> {
    this.#pending = work;
    this.#writing ??= this.#runPending();
    await withTimeout(this.#writing, TIMEOUT_MS).catch((error) =>
      this.#onFailure(error)
    );
  }

  /** Runs operations until none is left. */
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

  /** Logs a failure, once until the next success. */
  #onFailure(error: unknown): void {
    if (this.#unavailable) return;
    this.#unavailable = true;
    const reason = oneLine(error instanceof Error ? error.message : error);
    logger("service").warn("The service store is unavailable: {reason}", {
      reason,
    });
  }

  #onSuccess(): void {
    if (this.#unavailable) {
      logger("service").info("The service store is available again");
    }
    this.#unavailable = false;
  }
}

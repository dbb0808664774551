/** The records of a service in its store, which may be away at any time (Nova: `service.py`, `report_state`). @module */
import { log, oneLine } from "../telemetry.ts";
import { within } from "../wait.ts";
import type {
  ServiceKey,
  ServiceReport,
  ServiceStore,
} from "../rpc/service_report.ts";

/** Milliseconds that a store may take. */
const PATIENCE = 2_000;

/** Writes to a store; nothing of it fails. */
export class Records {
  readonly #store: ServiceStore;
  readonly #keys: readonly ServiceKey[];
  #tail: Promise<void> = Promise.resolve();
  #away = false;
  /** Reports of earlier runs; undefined while the store has not said. */
  #before: number | undefined;

  /** Of the records with these keys. */
  constructor(store: ServiceStore, keys: readonly ServiceKey[]) {
    this.#store = store;
    this.#keys = keys;
  }

  /** Reports of earlier runs, as far as the store has said. */
  get before(): number {
    return this.#before ?? 0;
  }

  /** Asks for the reports of earlier runs. */
  open(): Promise<void> {
    return this.#attempt(() => this.#read());
  }

  /** Writes what a service reports; a record that was lost is made anew. */
  write(reports: () => readonly ServiceReport[]): Promise<void> {
    return this.#attempt(async () => {
      await this.#read();
      const updatedAt = Date.now();
      for (const report of reports()) {
        await this.#store.put({ ...report, updatedAt });
      }
    });
  }

  /** Removes them. */
  remove(): Promise<void> {
    return this.#attempt(async () => {
      for (const key of this.#keys) await this.#store.remove(key);
    });
  }

  async #read(): Promise<void> {
    if (this.#before !== undefined) return;
    const known = await Promise.all(
      this.#keys.map((key) => this.#store.get(key)),
    );
    this.#before = Math.max(0, ...known.map((one) => one?.reportCount ?? 0));
  }

  /** One after the other. That the store is away is said once, and once that it is back. */
  #attempt(work: () => Promise<void>): Promise<void> {
    const late = () => new Error(`no answer within ${PATIENCE} ms`);
    return this.#tail = this.#tail.then(() => {
      const wait = { deadline: performance.now() + PATIENCE };
      return within(Promise.try(work), wait, late);
    }).then(() => this.#said(false), (error) => this.#said(true, error));
  }

  #said(away: boolean, error?: unknown): void {
    if (away && !this.#away) {
      const reason = oneLine(error instanceof Error ? error.message : error);
      log("service").warn("The store of services is away: {reason}", {
        reason,
      });
    }
    if (!away && this.#away) {
      log("service").info("The store of services is back");
    }
    this.#away = away;
  }
}

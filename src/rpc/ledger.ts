/** Requests that this process has in hand or has answered, by their ids: one that comes again is not run again. @module */
import type { Job } from "./job.ts";

/** A request that was begun. */
export interface Entry {
  /** Its job; what it answered is kept for a while. */
  readonly job: Job;
  /** Resolves when it has ended. */
  readonly ended: Promise<void>;
  /** When it ended, in milliseconds of the monotonic clock; undefined while it runs. */
  at?: number;
}

/** Milliseconds, from its end, that a request is remembered, and how many are at most. */
const WINDOW = 600_000;
const MOST = 100_000;
/** Milliseconds that its answer is kept, and bytes of all answers at most. */
const ANSWERS = 60_000;
const BYTES = 32 * 1024 * 1024;

/** Remembers the requests of one consumer. Those without an id (Folsom) are never the same. */
export class Ledger {
  /** Ended ones in the order of their ends, behind those that run. */
  readonly #entries = new Map<string, Entry>();
  /** Entries whose answers are kept, in the order of their ends. */
  readonly #answered = new Set<Entry>();
  #bytes = 0;

  /** The request with that id, if it is remembered. */
  find(id: string): Entry | undefined {
    return this.#entries.get(id);
  }

  /** A request begins. */
  begin(id: string, job: Job, ended: Promise<void>): void {
    const entry: Entry = { job, ended };
    this.#entries.set(id, entry);
    void ended.then(() => this.#end(id, entry));
  }

  /** One that goes back to its queue was not done: it may come again. */
  #end(id: string, entry: Entry): void {
    this.#entries.delete(id);
    if (entry.job.abandoned) return;
    const now = entry.at = performance.now();
    this.#entries.set(id, entry);
    this.#bytes += entry.job.kept;
    if (entry.job.kept > 0) this.#answered.add(entry);
    this.#forget(now);
  }

  #forget(now: number): void {
    for (const entry of this.#answered) {
      if (this.#bytes <= BYTES && now - (entry.at ?? now) <= ANSWERS) break;
      this.#answered.delete(entry);
      this.#bytes -= entry.job.kept;
      entry.job.answers.length = 0;
    }
    for (const [id, { at }] of this.#entries) {
      if (at === undefined) continue; // it runs
      if (this.#entries.size <= MOST && now - at <= WINDOW) break;
      this.#entries.delete(id);
    }
  }
}

/** At most one line a second of a kind: a log must not grow by what strangers send. @module */
import { addFollowUp } from "./follow_ups.ts";

/** Milliseconds between two lines of a kind. */
const WINDOW_MS = 1_000;
/** Kinds that are told apart at once. Further ones count as one kind for each text. */
const MAX_KINDS = 256;

/** Writes a line that stands for so many. */
export type Write = (times: number) => void;

interface Kind {
  /** No further line is written before this time, in milliseconds of `performance.now()`. */
  until: number;
  /** Number of lines that were held back since. */
  held: number;
  /** Writes the last of these. */
  write: Write;
}

/**
 * Lets one line of a kind pass at once. Those that follow within a second become one line with their number: after that
 * second, as soon as another line is written or a deadline of this process passes. It has no timer, which would keep a
 * process alive or be taken for a leak of a test.
 */
export class LogThrottle {
  readonly #kinds = new Map<string, Kind>();
  #held = 0;
  /** Time at which the first line that was held back may be written. */
  #due = Infinity;

  /** Nothing was written yet. */
  constructor() {
    addFollowUp(() => this.flush());
  }

  /** Writes a line now or later. `text` is its kind where there are too many kinds already. */
  pass(kind: string, text: string, write: Write): void {
    this.flush();
    const now = performance.now();
    const known = this.#kinds.get(kind);
    if (known && known.until > now) {
      this.#held++;
      this.#due = Math.min(this.#due, known.until);
      known.held++;
      known.write = write;
      return;
    }
    if (!known && this.#kinds.size >= MAX_KINDS && kind !== text) {
      this.#forget(now);
      if (this.#kinds.size >= MAX_KINDS) return this.pass(text, text, write);
    }
    this.#kinds.set(kind, { until: now + WINDOW_MS, held: 0, write });
    write(1);
  }

  /** Writes what was held back for long enough; all of it, if nothing may follow. */
  flush(all = false): void {
    const now = performance.now();
    if (this.#held === 0 || now < this.#due && !all) return;
    this.#due = Infinity;
    for (const kind of this.#kinds.values()) {
      const { held, until, write } = kind;
      if (held === 0) continue;
      if (until > now && !all) {
        this.#due = Math.min(this.#due, until);
        continue;
      }
      this.#held -= held;
      kind.held = 0;
      kind.until = now + WINDOW_MS;
      write(held);
    }
  }

  /** A new audience knows nothing of what was written before. */
  clear(): void {
    this.#kinds.clear();
    this.#held = 0;
  }

  #forget(now: number): void {
    for (const [name, { until, held }] of this.#kinds) {
      if (held === 0 && until <= now) this.#kinds.delete(name);
    }
  }
}

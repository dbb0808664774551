/** Limits log lines of one kind to one a second, so that a peer cannot flood the log. @module */

/** Functions that are called whenever deadlines of the process have passed, so that they need no timer of their own. */
const followers: (() => void)[] = [];

/** Adds a function that is called whenever deadlines have passed, for as long as the process lives. */
function addFollowUp(work: () => void): void {
  followers.push(work);
}

/** Calls these functions, because deadlines have passed. */
export function runFollowUps(): void {
  for (const work of followers) work();
}

/** Milliseconds between two lines of one kind. */
const LOG_INTERVAL_MS = 1_000;
/** Kinds that are distinguished at once. Above this number, all lines of the same text count as one kind. */
const MAX_KINDS = 256;

/** Writes a line; `times` is the number of lines that it stands for. */
export type Write = (times: number) => void;

interface Kind {
  /** Time before which no further line is written, in milliseconds of `performance.now()`. */
  silentUntil: number;
  /** Number of lines that were suppressed since the last one. */
  suppressed: number;
  /** Writes the last suppressed line. */
  readonly write: Write;
}

/**
 * Writes the first line of a kind at once, and sums up those that follow within a second in one line with their number.
 * The sum is written after that second, as soon as another line is logged or a deadline of the process passes. There is
 * no timer, since a timer would keep the process alive, and Deno's tests would report it as a leak.
 */
export class LogThrottle {
  readonly #kinds = new Map<string, Kind>();
  #suppressed = 0;
  /** Time at which the first suppressed line may be written, in milliseconds of `performance.now()`. */
  #flushAt = Infinity;

  /** Creates a throttle that has written nothing yet. */
  constructor() {
    addFollowUp(() => this.flush());
  }

  /** Writes a line now or later. `text` replaces `kind` where there are too many kinds already. */
  submit(kind: string, text: string, write: Write): void {
    this.flush();
    const now = performance.now();
    const existing = this.#kinds.get(kind);
    if (existing && existing.silentUntil > now) {
      this.#suppressed++;
      this.#flushAt = Math.min(this.#flushAt, existing.silentUntil);
      const suppressed = existing.suppressed + 1;
      this.#kinds.set(kind, { ...existing, suppressed, write });
      return;
    }
    if (!existing && this.#kinds.size >= MAX_KINDS && kind !== text) {
      this.#evictExpired(now);
      if (this.#kinds.size >= MAX_KINDS) return this.submit(text, text, write);
    }
    this.#kinds.set(kind, {
      silentUntil: now + LOG_INTERVAL_MS,
      suppressed: 0,
      write,
    });
    write(1);
  }

  /**
   * Writes the suppressed lines whose second is over, or all of them if `all` is true, e.g. before the process ends.
   */
  flush(all = false): void {
    const now = performance.now();
    if (this.#suppressed === 0 || now < this.#flushAt && !all) return;
    this.#flushAt = Infinity;
    for (const kind of this.#kinds.values()) {
      const { suppressed, silentUntil, write } = kind;
      if (suppressed === 0) continue;
      if (silentUntil > now && !all) {
        this.#flushAt = Math.min(this.#flushAt, silentUntil);
        continue;
      }
      this.#suppressed -= suppressed;
      kind.suppressed = 0;
      kind.silentUntil = now + LOG_INTERVAL_MS;
      write(suppressed);
    }
  }

  /**
   * Forgets all kinds, since the log was configured anew and its new destination has seen none of the earlier lines.
   */
  clear(): void {
    this.#kinds.clear();
    this.#suppressed = 0;
  }

  #evictExpired(now: number): void {
    for (const [name, { silentUntil, suppressed }] of this.#kinds) {
      if (suppressed === 0 && silentUntil <= now) this.#kinds.delete(name);
    }
  }
}

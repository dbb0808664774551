/** How long handlers take, in a few hundred bytes however many there were. @module */
import type { LatencyStats } from "../server_stats.ts";

/** Each bucket ends at so many times the end of the one before. */
const STEP = 1.25;
/** End of the first bucket in milliseconds. */
const FIRST = 0.1;
/** Up to a day and more. */
const BUCKETS = 96;

/** Counts durations in buckets that grow. */
export class LatencyHistogram {
  readonly #counts = new Uint32Array(BUCKETS);
  #total = 0;
  #max = 0;

  /** Counts a duration in milliseconds. */
  add(ms: number): void {
    const bucket = Math.ceil(Math.log(ms / FIRST) / Math.log(STEP));
    const at = Math.min(Math.max(bucket, 0), BUCKETS - 1) || 0;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#total++;
    this.#max = Math.max(this.#max, ms);
  }

  /** What was counted. */
  get stats(): LatencyStats {
    const [p50, p90, p99] = [0.5, 0.9, 0.99].map((share) => this.#at(share));
    return { p50: p50 ?? 0, p90: p90 ?? 0, p99: p99 ?? 0, max: this.#max };
  }

  #at(share: number): number {
    let left = share * this.#total;
    for (const [bucket, count] of this.#counts.entries()) {
      left -= count;
      if (count > 0 && left <= 0) {
        return Math.min(FIRST * STEP ** bucket, this.#max);
      }
    }
    return 0;
  }
}

/** Histogram of the durations of handlers, in a few hundred bytes for any number of handlers. @module */
import type { LatencyStats } from "../server_stats.ts";

/** Ratio of the upper bounds of two neighbouring buckets. */
const BUCKET_RATIO = 1.25;
/** Upper bound of the first bucket, in milliseconds. */
const FIRST_BUCKET_MS = 0.1;
/** Number of buckets, of which the last one has durations of more than a day. */
const BUCKETS = 96;

/** Counts durations in buckets of growing size. */
export class LatencyHistogram {
  readonly #counts = new Uint32Array(BUCKETS);
  #total = 0;
  #max = 0;

  /** Counts a duration in milliseconds. */
  add(ms: number): void {
    const bucket = Math.ceil(
      Math.log(ms / FIRST_BUCKET_MS) / Math.log(BUCKET_RATIO),
    );
    const at = Math.min(Math.max(bucket, 0), BUCKETS - 1) || 0;
    this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#total++;
    this.#max = Math.max(this.#max, ms);
  }

  /** Returns the quantiles of the durations. */
  get stats(): LatencyStats {
    const [p50, p90, p99] = [0.5, 0.9, 0.99].map((share) => this.#at(share));
    return { p50: p50 ?? 0, p90: p90 ?? 0, p99: p99 ?? 0, max: this.#max };
  }

  #at(share: number): number {
    let left = share * this.#total;
    for (const [bucket, count] of this.#counts.entries()) {
      left -= count;
      if (count > 0 && left <= 0) {
        return Math.min(FIRST_BUCKET_MS * BUCKET_RATIO ** bucket, this.#max);
      }
    }
    return 0;
  }
}

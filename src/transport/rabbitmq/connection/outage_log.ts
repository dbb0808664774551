/** An outage of the broker in the log: one line at its beginning, and one at its end. @module */
import { logger } from "../../../logging.ts";

/** The times at which a broker was away. */
export class OutageLog {
  /** Begin of the outage, in milliseconds of `performance.now()`; undefined while the broker answers. */
  #since: number | undefined;

  /** A connection was lost, or could not be made. What follows until the end is for level debug. */
  failed(reason: string): void {
    const first = this.#since === undefined;
    this.#since ??= performance.now();
    logger("bus")[first ? "warn" : "debug"]("{reason}", { reason }, reason);
  }

  /** All connections are there. Whoever reads warnings alone is told of the end as well. */
  ended(): void {
    const bus = logger("bus");
    if (this.#since === undefined) return bus.info("Connected to the broker");
    const seconds = Math.round((performance.now() - this.#since) / 100) / 10;
    this.#since = undefined;
    bus.warn("Connected to the broker again, after {seconds} s", { seconds });
  }
}

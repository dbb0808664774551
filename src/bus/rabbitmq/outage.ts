/** What the log says of a broker that is away: one line when that begins, and one when it ends. @module */
import { log } from "../../telemetry.ts";

/** The times at which a broker was away. */
export class Outage {
  /** When it began, in milliseconds of `performance.now()`; undefined while all is well. */
  #since: number | undefined;

  /** A connection was lost, or could not be made. What follows until the end is for level debug. */
  failed(reason: string): void {
    const first = this.#since === undefined;
    this.#since ??= performance.now();
    log("bus")[first ? "warn" : "debug"]("{reason}", { reason }, reason);
  }

  /** All connections are there. Whoever reads warnings alone is told of the end as well. */
  ended(): void {
    const bus = log("bus");
    if (this.#since === undefined) return bus.info("Connected to the broker");
    const seconds = Math.round((performance.now() - this.#since) / 100) / 10;
    this.#since = undefined;
    bus.warn("Connected to the broker again, after {seconds} s", { seconds });
  }
}

/** Log of a restoration of consumers. @module */
import { TimeoutError } from "../../../errors.ts";
import { logger } from "../../../logging.ts";
import { isUnprocessed } from "../connection/topology_errors.ts";
import type { ConsumerSpec } from "./consumer_spec.ts";

/** Milliseconds without answers that belong to an outage: a cluster that has lost a node answers some requests only after that. */
const MAX_SILENCE_MS = 10_000;

/** Logs once for each queue why it cannot be consumed yet, and once for all queues that the broker does not answer. */
export class RestorationLog {
  readonly #since = performance.now();
  readonly #logged = new WeakSet<ConsumerSpec>();
  #isSilenceLogged = false;

  /** Logs a consumer that was not restored; at level debug if there is no connection, which is logged by its supervisor. */
  failed(spec: ConsumerSpec, error: unknown, isConnected: boolean): void {
    const isCause = isConnected && !isUnprocessed(error);
    const isNew = isCause &&
      (error instanceof TimeoutError
        ? !spec.options.optional && this.#isLongSilence()
        : !this.#logged.has(spec));
    const { name: queue } = spec.route.queue;
    logger("bus")[isNew ? "warn" : "debug"](
      "Cannot consume {queue} yet: {error}",
      { queue, error },
      queue,
    );
    if (isNew) this.#logged.add(spec);
  }

  #isLongSilence(): boolean {
    const isLong = performance.now() - this.#since > MAX_SILENCE_MS;
    if (!isLong || this.#isSilenceLogged) return false;
    this.#isSilenceLogged = true;
    return true;
  }
}

/** Restoration of the consumers of one channel after a loss. @module */
import { RpcError, TopologyError } from "../../../errors.ts";
import { delay } from "../../../async/deadline.ts";
import { backoff } from "../../../async/backoff.ts";
import { inParallel } from "../../../async/in_parallel.ts";
import { logger } from "../../../logging.ts";
import type { SupervisedConnection } from "../connection/supervised_connection.ts";
import type { ConsumerRegistry, ConsumerSpec } from "./consumer_spec.ts";
import { RestorationLog } from "./restoration_log.ts";

/** Consumers that are restored at the same time. */
const MAX_RESTARTS = 64;

/** Starts the consumers that do not run, until none is missing. */
export class ConsumerRestoration {
  readonly #connection: SupervisedConnection;
  readonly #registry: ConsumerRegistry;
  /** Fires when the channel is closed for good. */
  readonly #closing: AbortSignal;
  readonly #startOne: (spec: ConsumerSpec) => Promise<unknown>;
  #running: Promise<void> | undefined;

  /** `startOne` starts a consumer if it still does not run. */
  constructor(
    connection: SupervisedConnection,
    registry: ConsumerRegistry,
    closing: AbortSignal,
    startOne: (spec: ConsumerSpec) => Promise<unknown>,
  ) {
    this.#connection = connection;
    this.#registry = registry;
    this.#closing = closing;
    this.#startOne = startOne;
  }

  /** True while consumers are being started. */
  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Resolves when no consumer is being started. */
  get ended(): Promise<void> | undefined {
    return this.#running;
  }

  /** Starts all missing consumers, if that has not begun. */
  start(): void {
    this.#running ??= this.#restoreAll().finally(() => {
      this.#running = undefined;
      const ended = this.#closing.aborted || this.#connection.failure;
      // Another consumer may have been lost since the last check.
      if (!ended && this.#registry.missing.length > 0) this.start();
    });
  }

  async #restoreAll(): Promise<void> {
    const signal = this.#closing;
    const log = new RestorationLog();
    const restore = (spec: ConsumerSpec) => this.#restoreOne(spec, log);
    for (let attempt = 0; !signal.aborted; attempt++) {
      if (this.#connection.failure) return;
      if (this.#registry.missing.length === 0) return;
      // A queue whose node is frozen, or the queue of a lock whose node is down, holds up those after it.
      for (const specs of this.#registry.missingInOrder) {
        await inParallel(specs, MAX_RESTARTS, restore);
      }
      const deadline = { at: Infinity, signal };
      await delay(backoff(attempt), deadline).catch(() => {});
    }
  }

  async #restoreOne(spec: ConsumerSpec, log: RestorationLog): Promise<void> {
    try {
      await this.#startOne(spec);
    } catch (error) {
      if (this.#closing.aborted) return;
      // A passive queue may be created again by its owner.
      const isMissing = error instanceof RpcError &&
        (error.data.replyCode === 404 || error.data.reason === "missing");
      if (error instanceof TopologyError && !isMissing) {
        return this.#onRejected(spec, error);
      }
      log.failed(spec, error, this.#connection.current !== undefined);
      if (isMissing && spec.replaceRoute) spec.route = spec.replaceRoute();
    }
  }

  #onRejected(spec: ConsumerSpec, error: TopologyError): void {
    if (!spec.options.optional) return this.#connection.fail(error);
    const text = "{error}: the optional consumer is not restored";
    logger("bus").warn(text, { error });
    this.#registry.remove(spec);
  }
}

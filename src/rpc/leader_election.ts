/**
 * Leader election among the workers of a topic: the leader is the exclusive consumer of a queue that holds no message.
 * Leadership is a hint, not a lock: two workers may lead for a moment.
 *
 * @module
 */
import { logger } from "../logging.ts";
import { delay } from "../async/deadline.ts";
import type { Consumer, Session } from "../transport/transport.ts";

/** Milliseconds between two attempts of a follower, on average. */
const RETRY_INTERVAL_MS = 4_000;
/** Time limit of one attempt, in milliseconds. */
const ATTEMPT_TIMEOUT_MS = 10_000;

/**
 * Candidate in an election until disposed.
 * @category Fleet
 */
export class Leadership implements AsyncDisposable {
  readonly #session: Session;
  readonly #topic: string;
  readonly #task: string;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #term: AbortController | undefined;

  /** Created by `connection.lead`. */
  constructor(session: Session, topic: string, task: string) {
    this.#session = session;
    this.#topic = topic;
    this.#task = task;
    this.#running = this.#run();
  }

  /** Signal that fires when this candidate no longer leads; undefined while it does not lead. */
  get leading(): AbortSignal | undefined {
    return this.#term?.signal;
  }

  /** Resigns, and ends the candidacy. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const consumer = await this.#tryConsume().catch(() => undefined); // another worker leads, or the broker is unreachable
      if (consumer) await this.#lead(consumer);
      const pauseMs = RETRY_INTERVAL_MS / 2 + Math.random() * RETRY_INTERVAL_MS;
      await delay(pauseMs, { at: Infinity, signal }).catch(() => {});
    }
  }

  #tryConsume(): Promise<Consumer> {
    const deadline = {
      at: performance.now() + ATTEMPT_TIMEOUT_MS,
      signal: this.#stop.signal,
    };
    const options = { prefetch: 1, exclusive: true };
    return this.#session.consume(
      { kind: "leader", topic: this.#topic, task: this.#task },
      (stray) => stray.reject(false),
      options,
      deadline,
    );
  }

  /** Leads until the consumer is lost or the candidacy ends. */
  async #lead(consumer: Consumer): Promise<void> {
    const { signal } = this.#stop;
    const term = new AbortController();
    const what = `${this.#topic}.${this.#task}`;
    this.#term = term;
    logger("rpc").info("Leads {what}", { what }, what);
    const resigned = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    await Promise.race([consumer.ended, resigned]);
    this.#term = undefined;
    term.abort();
    logger("rpc").info("No longer leads {what}", { what }, what);
    await consumer.cancel();
  }
}

/**
 * Leader election among the workers of a topic. All candidates consume a queue with a single active consumer, and the one
 * that receives the token leads. It replaces the token every few seconds; one that receives no new token in time no longer
 * leads. Leadership is a hint, not a lock: two workers may lead for a moment.
 *
 * @module
 */
import { TopologyError } from "../errors.ts";
import { logger } from "../logging.ts";
import { delay } from "../async/deadline.ts";
import type { Address } from "../transport/address.ts";
import type { Delivery, Message, Session } from "../transport/transport.ts";

/** Milliseconds between two tokens of the leader. */
const RENEWAL_INTERVAL_MS = 3_000;
/** Milliseconds without a new token after which a leader no longer leads. */
const TERM_MS = 8_000;
/** Milliseconds between two tokens of a follower, on average, in case that the token was lost. */
const REPLACEMENT_INTERVAL_MS = 60_000;
/** Milliseconds between two candidacies, on average. */
const RETRY_INTERVAL_MS = 1_000;
/** Time limit in milliseconds for the start of a candidacy. */
const START_TIMEOUT_MS = 10_000;

/** Message that makes its receiver the leader. The queue keeps one of several. */
const TOKEN: Message = { body: new Uint8Array(), headers: {} };

/** Returns a random time whose average is that of `ms`. */
const around = (ms: number) => ms / 2 + Math.random() * ms;

/**
 * Candidate in an election until disposed.
 * @category Fleet
 */
export class Leadership implements AsyncDisposable {
  readonly #session: Session;
  readonly #address: Address & { readonly kind: "leader" };
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  /** Term of this candidate while it leads. */
  #term: AbortController | undefined;
  /** Token of this candidate while it leads. */
  #token: Delivery | undefined;
  #expiry: ReturnType<typeof setTimeout> | undefined;

  /** Created by `connection.lead`. */
  constructor(session: Session, topic: string, task: string) {
    this.#session = session;
    this.#address = { kind: "leader", topic, task };
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
      await this.#stand().catch((error) => {
        const { topic, task } = this.#address;
        const level = error instanceof TopologyError ? "warn" : "debug";
        const text = "Cannot stand for {task} of {topic} yet: {error}";
        logger("rpc")[level](text, { task, topic, error }, `${topic} ${task}`);
      });
      const deadline = { at: Infinity, signal };
      await delay(around(RETRY_INTERVAL_MS), deadline).catch(() => {});
    }
  }

  /** Stands as a candidate until its consumer is lost, its term has ended, or the candidacy ends. */
  async #stand(): Promise<void> {
    const candidacy = new AbortController();
    const end = () => candidacy.abort();
    const signal = AbortSignal.any([this.#stop.signal, candidacy.signal]);
    const consumer = await this.#session.consume(
      this.#address,
      (token) => {
        if (signal.aborted) token.reject(true); // another candidate is the next to lead
        else this.#onToken(token, end);
      },
      { prefetch: 2, restore: false },
      { at: performance.now() + START_TIMEOUT_MS, signal },
    );
    void consumer.ended.then(end);
    try {
      await this.#sendTokens(signal);
    } finally {
      this.#resign();
      await consumer.cancel();
      this.#token?.reject(true);
      this.#token = undefined;
    }
  }

  /** Sends a token at once, and then at intervals until the signal fires. */
  async #sendTokens(signal: AbortSignal): Promise<void> {
    let nextReplacement = -Infinity;
    while (!signal.aborted) {
      const now = performance.now();
      if (this.#term || now >= nextReplacement) {
        nextReplacement = now + around(REPLACEMENT_INTERVAL_MS);
        const deadline = { at: now + RENEWAL_INTERVAL_MS, signal };
        await this.#session.publish(this.#address, TOKEN, deadline)
          .catch(() => {}); // without a new token, the term ends
      }
      const pauseMs = now + RENEWAL_INTERVAL_MS - performance.now();
      await delay(pauseMs, { at: Infinity, signal }).catch(() => {});
    }
  }

  /** Begins or prolongs the term. A new token replaces the old one, so that the broker counts no deliveries of either. */
  #onToken(token: Delivery, end: () => void): void {
    const { topic, task } = this.#address;
    this.#token?.ack();
    this.#token = token;
    clearTimeout(this.#expiry);
    this.#expiry = setTimeout(end, TERM_MS);
    if (this.#term) return;
    this.#term = new AbortController();
    logger("rpc").info("Leads {task} of {topic}", { task, topic });
  }

  #resign(): void {
    const { topic, task } = this.#address;
    clearTimeout(this.#expiry);
    if (!this.#term) return;
    this.#term.abort();
    this.#term = undefined;
    logger("rpc").info("No longer leads {task} of {topic}", { task, topic });
  }
}

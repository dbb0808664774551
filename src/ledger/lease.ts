/**
 * Lease: the time-limited right of this worker to run a request of the ledger. It is renewed while the handler runs.
 *
 * @module
 */
import { backoff } from "../async/backoff.ts";
import { Buffer } from "node:buffer";
import type { Message } from "../transport/transport.ts";
import { clearDeadline, setDeadline } from "../async/timer_wheel.ts";
import { logger } from "../logging.ts";
import { type Deadline, delay, withDeadline } from "../async/deadline.ts";
import type { Claim, LedgerStore, StoredRequest } from "./ledger_store.ts";

/** Milliseconds for the ledger store to reply while a worker stops. */
const SHUTDOWN_TIMEOUT_MS = 1_000;

/**
 * Repeats a query to the ledger store until it succeeds. A query that has no answer within a lease is repeated, too.
 *
 * @throws {Error} the deadline passed; or the reason of the deadline's signal.
 */
export async function retryStore<T>(
  { lease }: LedgerStore,
  query: () => Promise<T>,
  deadline: Deadline,
): Promise<T> {
  deadline.signal?.throwIfAborted();
  for (let attempt = 0;; attempt++) {
    try {
      const attemptDeadline = {
        ...deadline,
        at: performance.now() + lease,
      };
      return await withDeadline(
        Promise.try(query),
        attemptDeadline,
        storeTimeout,
      );
    } catch (error) {
      deadline.signal?.throwIfAborted();
      logger("rpc").warn(
        "A query to the ledger store failed and is repeated: {error}",
        {
          error,
        },
      );
    }
    await delay(backoff(attempt), deadline);
    if (performance.now() >= deadline.at) throw storeTimeout();
  }
}

/** Lease on a request, until the request is done, lost to another worker or released. */
export class Lease {
  readonly #store: LedgerStore;
  readonly #content: string;
  readonly #onTakeover: () => void;
  #claim: Claim;
  #stored: StoredRequest | undefined;
  #renewal: ReturnType<typeof setDeadline>;
  #ended = false;
  #recorded = false;
  /**
   * Last query about the claim. Queries run one at a time, because two queries at once might take over each other's
   * claim.
   */
  #lastQuery: Promise<unknown> = Promise.resolve();

  /**
   * Starts to renew the claim of a request with a content, see `LedgerStore.claim`. `onTakeover` is called when another
   * worker has taken over the request.
   */
  constructor(
    store: LedgerStore,
    claim: Claim & { readonly content: string },
    onTakeover: () => void,
  ) {
    const { key, epoch, content } = claim;
    this.#store = store;
    this.#claim = { key, epoch };
    this.#content = content;
    this.#onTakeover = onTakeover;
    this.#renewal = this.#scheduleRenewal();
  }

  /** True once the request is done, lost or released. */
  get ended(): boolean {
    return this.#ended;
  }

  /** True once the request was recorded in a transaction, which may have been rolled back. */
  get recorded(): boolean {
    return this.#recorded;
  }

  /**
   * Records the request as done, with the replies to send if the request is delivered again. Resolves to the replies to
   * send now: those of an earlier record if there is one; undefined if another worker has the request.
   */
  async done(
    replies: readonly Message[],
    deadline: Deadline,
  ): Promise<readonly Message[] | undefined> {
    const text = serializeMessages(replies);
    const store = this.#store;
    const markDone = () =>
      retryStore(store, () => store.done(this.#claim, text), deadline);
    const succeeded = !this.#recorded && await markDone();
    this.stop();
    if (succeeded) return replies;
    const { key } = this.#claim;
    const known = await retryStore(
      store,
      () => store.claim(key, this.#content),
      deadline,
    );
    if (known.state === "done") return parseMessages(known.answers);
    // The record was rolled back, or the worker that had taken over the request died as well. In both cases this run
    // counts.
    if (known.state === "held") this.#claim = { key, epoch: known.epoch };
    else if (!this.#recorded) return undefined;
    return await markDone() ? replies : undefined;
  }

  /** Renews the claim, or claims the request again. False if another worker has it, or if it is done. */
  async confirm(deadline: Deadline): Promise<boolean> {
    const store = this.#store;
    const confirm = async () =>
      await store.renew(this.#claim) || await this.#reclaim();
    return await this.#serialize(() => retryStore(store, confirm, deadline));
  }

  /**
   * Exchanges the claim for a new one, so that nothing can be recorded with the old one. False if another worker has
   * the request, or if it is done.
   */
  async restart(deadline: Deadline): Promise<boolean> {
    const store = this.#store;
    return await this.#serialize(async () => {
      if (this.#ended) return false;
      await retryStore(store, () => store.release(this.#claim), deadline);
      return await retryStore(store, () => this.#reclaim(), deadline);
    });
  }

  /**
   * Records the request as done in a transaction of the handler; the record takes effect when the transaction is
   * committed. False if another worker has the request, or if it was recorded before.
   */
  async record(
    replies: readonly Message[],
    transaction: unknown,
  ): Promise<boolean> {
    const text = serializeMessages(replies);
    const succeeded = await this.#store.done(this.#claim, text, transaction);
    this.#recorded ||= succeeded;
    return succeeded;
  }

  /**
   * Stores the request itself in the ledger, before it is acknowledged in its queue. False if another worker has it.
   */
  async storeRequest(
    queue: string,
    request: Message,
    deadline: Deadline,
  ): Promise<boolean> {
    const store = this.#store;
    const stored = {
      ...this.#claim,
      queue,
      request: serializeMessages([request]),
    };
    const succeeded = await retryStore(
      store,
      () => store.keep(stored),
      deadline,
    );
    if (succeeded) this.#stored = stored;
    return succeeded;
  }

  /** Releases the request undone. If the store does not reply, the claim ends with the lease. */
  async release(): Promise<void> {
    this.stop();
    await this.#bestEffort(() => this.#store.release(this.#claim));
  }

  /** Notes that the stored request is in its queue again. */
  async markRequeued(): Promise<void> {
    await this.#bestEffort(() => this.#store.returned(this.#claim));
  }

  /** Stops renewing the claim. */
  stop(): void {
    this.#ended = true;
    clearDeadline(this.#renewal);
  }

  /** Runs one query with a time limit: shutdown must not wait for an unreachable store. */
  async #bestEffort(query: () => Promise<void>): Promise<void> {
    const deadline = { at: performance.now() + SHUTDOWN_TIMEOUT_MS };
    await withDeadline(Promise.try(query), deadline, storeTimeout).catch((
      error,
    ) =>
      logger("rpc").info("A claim was not released: {error}", {
        error,
      })
    );
  }

  #scheduleRenewal(): ReturnType<typeof setDeadline> {
    const renewAt = performance.now() + this.#store.lease / 3;
    return setDeadline(renewAt, () => void this.#renew());
  }

  /**
   * Renews the claim, and schedules the next renewal. While a transaction of the handler records the request, the
   * record is locked, and no worker can take over the request.
   */
  async #renew(): Promise<void> {
    const check = () => {
      const deadline = { at: performance.now() + this.#store.lease / 3 };
      return withDeadline(this.#isStillHeld(), deadline, storeTimeout).catch(
        (error) => {
          logger("rpc").warn("A claim was not renewed: {error}", { error });
          return true; // nothing shows that it was lost
        },
      );
    };
    const held = this.#recorded || await this.#serialize(check);
    if (this.#ended) return;
    if (held) this.#renewal = this.#scheduleRenewal();
    else {
      this.#ended = true;
      this.#onTakeover();
    }
  }

  #serialize<T>(query: () => Promise<T>): Promise<T> {
    const result = this.#lastQuery.then(query);
    this.#lastQuery = result.catch(() => {});
    return result;
  }

  /** Renews the claim, or claims the request again. Also true if this run recorded the request meanwhile. */
  async #isStillHeld(): Promise<boolean> {
    const held = await this.#store.renew(this.#claim);
    return held || this.#recorded || await this.#reclaim() || this.#recorded;
  }

  /** Claims the request again, after the store lost it, or after the worker that had taken it over died. */
  async #reclaim(): Promise<boolean> {
    const store = this.#store;
    const { key } = this.#claim;
    const known = await store.claim(key, this.#content);
    if (known.state !== "held") return false;
    this.#claim = { key, epoch: known.epoch };
    if (this.#ended) return await this.release(), false; // no handler runs it here any more
    if (this.#stored) await store.keep({ ...this.#stored, ...this.#claim });
    return true;
  }
}

const storeTimeout = () => new Error("no answer from the ledger store in time");

/** Message as it is stored. */
interface StoredMessage extends Omit<Message, "body"> {
  /** Body, in base64. */
  readonly body: string;
}

/**
 * Serializes messages to one text. Only headers with strings are stored, which all of Warren's are; other headers were
 * added by the broker.
 */
function serializeMessages(messages: readonly Message[]): string {
  const stored = messages.map(({ body, headers, ...rest }): StoredMessage => ({
    ...rest,
    headers: Object.fromEntries(
      Object.entries(headers).filter(([, value]) => typeof value === "string"),
    ),
    body: Buffer.from(body).toString("base64"),
  }));
  return JSON.stringify(stored);
}

/** Parses a text that `serializeMessages` returned. */
export function parseMessages(text: string): readonly Message[] {
  const stored = JSON.parse(text) as readonly StoredMessage[];
  return stored.map(({ body, ...rest }): Message => ({
    ...rest,
    body: new Uint8Array(Buffer.from(body, "base64")),
  }));
}

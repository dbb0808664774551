/** Ledger store: the record, shared by all workers, of the requests that were claimed and done. @module */

/**
 * Claim of a worker on a request. A worker that takes over the request gets a higher epoch, and the earlier claim
 * becomes void.
 * @category Ledger
 */
export interface Claim {
  /** Key of the request; another queue, id or attempt has another key. */
  readonly key: string;
  /** Epoch; higher for each worker that takes the request over. */
  readonly epoch: number;
}

/**
 * Result of a claim.
 * @category Ledger
 */
export type ClaimState =
  /** The request is claimed until the lease ends. */
  | { readonly state: "held"; readonly epoch: number }
  /**
   * Another worker has the request. Its claim ends in `left` milliseconds, unless it is renewed. `kept` is true if the
   * store has the request itself.
   */
  | { readonly state: "taken"; readonly left: number; readonly kept: boolean }
  /** The request is done; `answers` is the text that was passed to `done`. */
  | { readonly state: "done"; readonly answers: string }
  /** Another request has the key: it was claimed with another content. */
  | { readonly state: "conflict" };

/**
 * Request that the store has instead of its queue: it is acknowledged there, but not done.
 * @category Ledger
 */
export interface StoredRequest extends Claim {
  /** Queue of the request. */
  readonly queue: string;
  /** Serialized request. */
  readonly request: string;
}

/**
 * Ledger that processes share. Every method may reject while the store cannot be reached; callers retry. Every method
 * changes one record atomically (compare and set), and only the clock of the store counts.
 * @category Ledger
 */
export interface LedgerStore {
  /** Milliseconds for which a claim is valid without renewal. */
  readonly lease: number;
  /**
   * Claims a request for the time of a lease; takes it over if the lease of another worker has ended. `content` is a
   * digest of the procedure and its arguments: the store keeps that of the first claim, and never changes a record with
   * another one.
   */
  claim(key: string, content: string): Promise<ClaimState>;
  /** Renews a claim for another lease; false if another worker has taken over the request. */
  renew(claim: Claim): Promise<boolean>;
  /**
   * Records the request as done, with a text to return if the request is claimed again. False if it was done or taken
   * over before. With a transaction, the record takes effect when the transaction is committed.
   */
  done(claim: Claim, answers: string, transaction?: unknown): Promise<boolean>;
  /** Releases a request undone: the next claim takes it over at once. */
  release(claim: Claim): Promise<void>;
  /**
   * Stores the request itself, before it is acknowledged in its queue; false if another worker has taken over the
   * request.
   */
  keep(request: StoredRequest): Promise<boolean>;
  /**
   * Deletes records that are older than the store's window, and returns the stored requests of these queues whose
   * workers have died, each at most once in a lease.
   */
  sweep(queues: readonly string[]): Promise<readonly StoredRequest[]>;
  /**
   * Notes that the request is in its queue again: the store deletes the request, unless another worker has claimed it
   * meanwhile.
   */
  returned(claim: Claim): Promise<void>;
}

/**
 * Options of every ledger store.
 * @category Ledger
 */
export interface LedgerOptions {
  /**
   * Milliseconds for which a claim is valid without renewal, 1000 or more; default 10 000. The requests of a worker
   * that died wait this long for another worker.
   */
  readonly lease?: number | undefined;
  /** Milliseconds for which a done request is remembered, 60 000 or more; default 600 000. */
  readonly window?: number | undefined;
}

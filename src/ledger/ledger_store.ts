/** Where the workers of a fleet remember, together, which requests they have in hand and which are done. @module */

/** A worker's hold on a request: whoever takes the request over has a higher epoch, and the earlier hold is worth nothing. */
export interface Claim {
  /** What tells the request, in its queue, from all others. */
  readonly key: string;
  /** Higher for each worker that takes it over. */
  readonly epoch: number;
}

/** What a store says to whoever wants to run a request. */
export type ClaimState =
  /** It is yours, until the lease ends. */
  | { readonly state: "held"; readonly epoch: number }
  /** Another worker has it, for so many milliseconds unless it renews; `kept` if the store has the request itself. */
  | { readonly state: "taken"; readonly left: number; readonly kept: boolean }
  /** It is done; `answers` is what `done` was given. */
  | { readonly state: "done"; readonly answers: string };

/** A request that the store keeps in its queue's place: it is acknowledged, and not done. */
export interface StoredRequest extends Claim {
  /** Its queue. */
  readonly queue: string;
  /** The request. */
  readonly request: string;
}

/**
 * A ledger that processes share. Every method may reject while the store is away: the caller tries again. All of them act on
 * one record at once (compare and set), by the clock of the store alone.
 */
export interface LedgerStore {
  /** Milliseconds that a claim holds without being renewed. */
  readonly lease: number;
  /** Claims a request for the length of a lease; takes it over if the lease of another has ended. */
  claim(key: string): Promise<ClaimState>;
  /** Holds for another lease; false if it was taken over. */
  renew(claim: Claim): Promise<boolean>;
  /**
   * The request is done, with that to say if it comes again; false if it was done already, or taken over. With a
   * transaction of the user's it is done if that is committed.
   */
  done(claim: Claim, answers: string, transaction?: unknown): Promise<boolean>;
  /** Gives it back undone: the next claim takes it over at once. */
  release(claim: Claim): Promise<void>;
  /** Keeps the request itself, which is acknowledged then; false if it was taken over. */
  keep(request: StoredRequest): Promise<boolean>;
  /** Forgets what is older than its window; gives the kept requests of these queues whose workers are gone, each once a lease. */
  sweep(queues: readonly string[]): Promise<readonly StoredRequest[]>;
  /** Its queue has the request again: it is kept no more, unless somebody has claimed it meanwhile. */
  returned(claim: Claim): Promise<void>;
}

/** Options of every store. */
export interface LedgerOptions {
  /**
   * Milliseconds that a claim holds without being renewed, 1000 or more; default 10 000. What a worker had in hand that
   * died waits so long.
   */
  readonly lease?: number | undefined;
  /** Milliseconds that a done request is remembered, 60 000 or more; default 600 000. */
  readonly window?: number | undefined;
}

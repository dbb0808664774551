/** Cache that forgets its entries by age and size, a generation at a time. @module */
import type { Digest } from "./digest.ts";
import { DigestTable, type WordPair } from "./digest_table.ts";

/** Limits of one generation. */
export interface GenerationLimits {
  /** Milliseconds for which a generation takes entries. */
  readonly ms: number;
  /** Maximum number of entries. */
  readonly entries: number;
  /** Maximum number of bytes. */
  readonly bytes: number;
}

/** Entries that were added within one period, and the values that they share. */
interface Generation<S> {
  readonly since: number;
  readonly entries: DigestTable;
  readonly shared: S;
  /** Bytes of the entries. */
  bytes: number;
}

/**
 * Cache of two generations, with a pair of integers for each digest. The older generation is evicted as a whole, so that
 * no entry has to be searched for.
 */
export class GenerationalCache<S = undefined> {
  readonly #limits: GenerationLimits;
  readonly #newShared: () => S;
  #young: Generation<S>;
  #old: Generation<S>;
  #evictions = 0;

  /** `newShared` creates the values that the entries of one generation share. */
  constructor(limits: GenerationLimits, newShared: () => S) {
    this.#limits = limits;
    this.#newShared = newShared;
    this.#young = this.#fresh();
    this.#old = this.#fresh();
  }

  /** Number of generations evicted for their size before their time was over. */
  get evictions(): number {
    return this.#evictions;
  }

  /** Returns a value, and what it shares with its generation. */
  get(
    key: Digest,
  ): { readonly value: WordPair; readonly shared: S } | undefined {
    return valueIn(this.#young, key) ?? valueIn(this.#old, key);
  }

  /** Adds an entry of a size in bytes; `make` returns its value. */
  set(key: Digest, bytes: number, make: (shared: S) => WordPair): void {
    const { since, entries } = this.#young;
    const { ms, entries: maxEntries, bytes: maxBytes } = this.#limits;
    const full = entries.size >= maxEntries ||
      this.#young.bytes + bytes > maxBytes;
    const now = performance.now();
    if (full || now - since >= ms) {
      if (this.#old.entries.size > 0 && now - since < ms) this.#evictions++;
      this.#old = this.#young;
      this.#young = this.#fresh();
    }
    this.#young.entries.set(key, make(this.#young.shared));
    this.#young.bytes += bytes;
  }

  #fresh(): Generation<S> {
    return {
      since: performance.now(),
      entries: new DigestTable(),
      shared: this.#newShared(),
      bytes: 0,
    };
  }
}

function valueIn<S>(
  { entries, shared }: Generation<S>,
  key: Digest,
): { readonly value: WordPair; readonly shared: S } | undefined {
  const value = entries.get(key);
  return value && { value, shared };
}

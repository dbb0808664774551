/** Cache that forgets its entries by age and size, a generation at a time. @module */

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
interface Generation<T, S> {
  readonly since: number;
  readonly entries: Map<string, T>;
  readonly shared: S;
  /** Bytes of the entries. */
  bytes: number;
}

/** Cache of two generations. The older one is evicted as a whole, so that no entry has to be searched for. */
export class GenerationalCache<T, S = undefined> {
  readonly #limits: GenerationLimits;
  readonly #newShared: () => S;
  #young: Generation<T, S>;
  #old: Generation<T, S>;
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
  get(key: string): { readonly value: T; readonly shared: S } | undefined {
    for (const { entries, shared } of [this.#young, this.#old]) {
      const value = entries.get(key);
      if (value !== undefined) return { value, shared };
    }
    return undefined;
  }

  /** Adds an entry of a size in bytes; `make` returns its value. */
  set(key: string, bytes: number, make: (shared: S) => T): void {
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

  #fresh(): Generation<T, S> {
    return {
      since: performance.now(),
      entries: new Map(),
      shared: this.#newShared(),
      bytes: 0,
    };
  }
}

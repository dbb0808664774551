/** Table of digests in one typed array, which the garbage collector does not look into. @module */
import type { Digest } from "./digest.ts";

/** Value of an entry: two integers of 32 bits with a sign. */
export interface WordPair {
  /** First integer. */
  readonly first: number;
  /** Second integer. */
  readonly second: number;
}

/** Words of an entry: the digest and its value. An entry whose first word is 0 is empty. */
const ENTRY_WORDS = 6;
/** Entries for which a new table has room; a power of two, as is each later number. */
const INITIAL_CAPACITY = 16;
/** Share of the entries that are in use before the table is doubled. */
const MAX_LOAD = 0.8;

/**
 * Table of digests, by open addressing: the entry of a digest is the first free one from the position that the first
 * word of the digest gives. The table never shrinks.
 */
export class DigestTable {
  #words = new Int32Array(INITIAL_CAPACITY * ENTRY_WORDS);
  #capacity = INITIAL_CAPACITY;
  #size = 0;

  /** Number of digests. */
  get size(): number {
    return this.#size;
  }

  /** Returns the value of a digest; undefined if the table does not have the digest. */
  get(digest: Digest): WordPair | undefined {
    const at = this.#find(digest);
    const words = this.#words;
    return words[at]
      ? { first: words[at + 4] ?? 0, second: words[at + 5] ?? 0 }
      : undefined;
  }

  /** Adds a digest, or replaces its value. */
  set(digest: Digest, { first, second }: WordPair): void {
    let at = this.#find(digest);
    if (!this.#words[at]) {
      if (++this.#size > this.#capacity * MAX_LOAD) {
        this.#grow();
        at = this.#find(digest);
      }
      this.#words[at] = digest.a;
      this.#words[at + 1] = digest.b;
      this.#words[at + 2] = digest.c;
      this.#words[at + 3] = digest.d;
    }
    this.#words[at + 4] = first;
    this.#words[at + 5] = second;
  }

  /** Removes a digest; does nothing if the table does not have it. */
  delete(digest: Digest): void {
    const words = this.#words;
    let free = this.#find(digest);
    if (!words[free]) return;
    this.#size--;
    // Entries that were added behind the removed one are moved up, unless they would come before their own position.
    for (let at = this.#next(free); words[at]; at = this.#next(at)) {
      const distance = this.#distance(this.#positionOf(words[at] ?? 0), at);
      if (distance < this.#distance(free, at)) continue;
      words.copyWithin(free, at, at + ENTRY_WORDS);
      free = at;
    }
    words[free] = 0;
  }

  /** Returns the index of a digest's entry; of the free entry for it, if the table does not have the digest. */
  #find({ a, b, c, d }: Digest): number {
    const words = this.#words;
    for (let at = this.#positionOf(a);; at = this.#next(at)) {
      const first = words[at];
      if (!first) return at;
      const found = first === a && words[at + 1] === b &&
        words[at + 2] === c && words[at + 3] === d;
      if (found) return at;
    }
  }

  /** Returns the index at which the entry of a digest belongs. */
  #positionOf(firstWord: number): number {
    return (firstWord & this.#capacity - 1) * ENTRY_WORDS;
  }

  /** Returns the index of the next entry; that of the first one after the last. */
  #next(at: number): number {
    const next = at + ENTRY_WORDS;
    return next === this.#words.length ? 0 : next;
  }

  /** Returns the words from one index to another, on around the end of the table. */
  #distance(from: number, to: number): number {
    return to < from ? to - from + this.#words.length : to - from;
  }

  #grow(): void {
    const old = this.#words;
    this.#capacity *= 2;
    const words = this.#words = new Int32Array(2 * old.length);
    for (let from = 0; from < old.length; from += ENTRY_WORDS) {
      const first = old[from];
      if (!first) continue;
      let at = this.#positionOf(first);
      while (words[at]) at = this.#next(at);
      words.set(old.subarray(from, from + ENTRY_WORDS), at);
    }
  }
}

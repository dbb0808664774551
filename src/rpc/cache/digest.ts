/**
 * Digests: four integers that stand for a text in a cache. A text of 85 characters that lives for minutes costs more
 * than its memory, since V8's garbage collector copies it twice and marks it many times.
 *
 * @module
 */

/** Digest of 128 bits: two texts have the same digest only by a chance of 2⁻¹²⁸. */
export class Digest {
  /** First word, of 32 bits with a sign; never 0. */
  readonly a: number;
  /** Second word. */
  readonly b: number;
  /** Third word. */
  readonly c: number;
  /** Fourth word. */
  readonly d: number;

  /** Creates a digest of four words. */
  constructor(a: number, b: number, c: number, d: number) {
    this.a = a || 1;
    this.b = b;
    this.c = c;
    this.d = d;
  }

  /** Returns the digest of this text and another one. */
  with({ a, b, c, d }: Digest): Digest {
    return new Digest(this.a ^ a, this.b ^ b, this.c ^ c, this.d ^ d);
  }

  /** Returns the digest of the same text in a scope of its own, e.g. that of one consumer; scope 0 changes nothing. */
  inScope(scope: number): Digest {
    return scope === 0
      ? this
      : new Digest(this.a, this.b, this.c, this.d ^ scope);
  }
}

/** Random key of this process, so that no peer can choose texts whose digests are near each other. */
const KEY = crypto.getRandomValues(new Int32Array(4));

/** Rounds for each word of the text, and for the last word. */
const ROUNDS = 2;
const FINAL_ROUNDS = 6;

/**
 * Returns the digest of a text. A word is two characters of the text; the words are mixed by the rounds of HalfSipHash,
 * a keyed hash function.
 */
export function digestOf(text: string): Digest {
  const { length } = text;
  let a = KEY[0] ?? 0;
  let b = KEY[1] ?? 0;
  let c = KEY[2] ?? 0;
  let d = KEY[3] ?? 0;
  // The length is the last word. It distinguishes texts whose last word is filled up with zeros.
  for (let at = 0; at < length + 2; at += 2) {
    const isLast = at >= length;
    let word = isLast ? length : text.charCodeAt(at);
    if (at + 1 < length) word |= text.charCodeAt(at + 1) << 16;
    d ^= word;
    for (let round = isLast ? FINAL_ROUNDS : ROUNDS; round > 0; round--) {
      a = a + b | 0;
      b = (b << 5 | b >>> 27) ^ a;
      a = a << 16 | a >>> 16;
      c = c + d | 0;
      d = (d << 8 | d >>> 24) ^ c;
      a = a + d | 0;
      d = (d << 7 | d >>> 25) ^ a;
      c = c + b | 0;
      b = (b << 13 | b >>> 19) ^ c;
      c = c << 16 | c >>> 16;
    }
    a ^= word;
  }
  return new Digest(a, b, c, d);
}

/** Fingerprints of letters, by which a walk recognises those that an earlier pass has dealt with. @module */
import type { MessageHead } from "../../transport/transport.ts";
import { deadLetterMark } from "../../wire/mod.ts";
import { digestOf } from "../../rpc/cache/digest.ts";

/** Largest count of letters with the same fingerprint, as a factor of the second count. */
const COUNT_LIMIT = 2 ** 20;

/**
 * Returns a number of 53 bits for a text. Two texts may have the same one: the letters of a queue are counted, so that this
 * does no harm while their order stays.
 */
export function hashOf(text: string): number {
  const { a, b } = digestOf(text);
  return (a >>> 0) * 2 ** 21 + (b >>> 11);
}

/** Returns the fingerprint of a letter; its body is not read. */
export const fingerprintOf = (
  { headers, messageId, bytes }: MessageHead,
): number => hashOf(`${bytes} ${deadLetterMark(headers)} ${messageId}`);

/**
 * Letters that earlier passes have dealt with, counted by their fingerprints, since a queue may have several of the same
 * content. A walk visits at most a million letters, each of which takes some 40 bytes here.
 */
export class Fingerprints {
  /** Of each fingerprint: number of letters, and `COUNT_LIMIT` times the number of those that this pass has met. */
  readonly #counts = new Map<number, number>();

  /** Begins a pass, which has met no letter. */
  startPass(): void {
    for (const [fingerprint, counts] of this.#counts) {
      this.#counts.set(fingerprint, counts % COUNT_LIMIT);
    }
  }

  /** True if the letter that the pass has come to is one of the known ones. */
  meet(fingerprint: number): boolean {
    const counts = this.#counts.get(fingerprint);
    if (counts === undefined) return false;
    if (Math.floor(counts / COUNT_LIMIT) >= counts % COUNT_LIMIT) return false;
    this.#counts.set(fingerprint, counts + COUNT_LIMIT);
    return true;
  }

  /** Adds a letter that the pass has come to. */
  add(fingerprint: number): void {
    const counts = this.#counts.get(fingerprint) ?? 0;
    this.#counts.set(fingerprint, counts + COUNT_LIMIT + 1);
  }

  /** Removes a letter that the pass has met, because it is not in its place any more. */
  remove(fingerprint: number): void {
    const counts = this.#counts.get(fingerprint) ?? 0;
    if (counts % COUNT_LIMIT <= 1) this.#counts.delete(fingerprint);
    else this.#counts.set(fingerprint, counts - COUNT_LIMIT - 1);
  }
}

/**
 * Cache of the replies to recent requests. Each entry is a few hundred bytes in a buffer that many share, since thousands
 * of small objects that live for a minute cost several times as much memory.
 *
 * @module
 */
import type { Message } from "../../transport/transport.ts";
import type { Digest } from "./digest.ts";
import type { WordPair } from "./digest_table.ts";
import { GenerationalCache } from "./generational_cache.ts";
import { HeadersTable, parseHead, serializeHead } from "./message_head.ts";

/** Limits of one generation of replies. Two generations hold at most 32 MiB, and less for at least a minute. */
const REPLY_LIMITS = { ms: 60_000, entries: Infinity, bytes: 16 * 1024 * 1024 };
/** Bytes counted for a reply beside its body: its head, and its place in the cache. */
const REPLY_OVERHEAD_BYTES = 512;
/** Size of a buffer in bytes; larger for a single entry that needs it. */
const CHUNK_BYTES = 64 * 1024;
/** Bytes of a number in a buffer. */
const NUMBER_BYTES = 4;

const utf8 = new TextEncoder();
const text = new TextDecoder();

/**
 * Entries in buffers. An entry is the number of its messages and, of each message, the lengths of its head and of its
 * body, the head, and the body.
 */
class ReplyArena {
  readonly #chunks: Uint8Array[] = [];
  readonly #headers = new HeadersTable();
  /** Offset of the next entry in the last buffer. */
  #at = 0;

  /** Adds an entry; returns its position: the index of the buffer, and the offset in the buffer. */
  add(replies: readonly Message[]): WordPair {
    const heads = replies.map((reply) => serializeHead(reply, this.#headers));
    let bytes = NUMBER_BYTES;
    for (const [n, { body }] of replies.entries()) {
      bytes += 2 * NUMBER_BYTES + 3 * (heads[n]?.length ?? 0) + body.length;
    }
    const chunk = this.#chunkFor(bytes);
    const position = { first: this.#chunks.length - 1, second: this.#at };
    let at = writeNumber(chunk, replies.length, this.#at);
    for (const [n, { body }] of replies.entries()) {
      const headFrom = at + 2 * NUMBER_BYTES;
      const head = heads[n] ?? "";
      const { written } = utf8.encodeInto(head, chunk.subarray(headFrom));
      at = writeNumber(chunk, written, at);
      at = writeNumber(chunk, body.length, at) + written;
      chunk.set(body, at);
      at += body.length;
    }
    this.#at = chunk.length > CHUNK_BYTES ? chunk.length : at; // a larger buffer has one entry alone
    return position;
  }

  /** Returns the replies at a position. */
  read({ first, second }: WordPair): readonly Message[] {
    const chunk = this.#chunks[first];
    if (!chunk) return [];
    let at = second + NUMBER_BYTES;
    return Array.from({ length: readNumber(chunk, second) }, () => {
      const headFrom = at + 2 * NUMBER_BYTES;
      const bodyFrom = headFrom + readNumber(chunk, at);
      const end = bodyFrom + readNumber(chunk, at + NUMBER_BYTES);
      at = end;
      const head = text.decode(chunk.subarray(headFrom, bodyFrom));
      const body = chunk.slice(bodyFrom, end);
      return { ...parseHead(head, this.#headers), body };
    });
  }

  #chunkFor(bytes: number): Uint8Array {
    const last = this.#chunks.at(-1);
    if (last && this.#at + bytes <= last.length) return last;
    const chunk = new Uint8Array(Math.max(CHUNK_BYTES, bytes));
    this.#chunks.push(chunk);
    this.#at = 0;
    return chunk;
  }
}

/** Writes a number of 32 bits; returns the offset behind it. */
function writeNumber(chunk: Uint8Array, value: number, at: number): number {
  chunk[at] = value;
  chunk[at + 1] = value >>> 8;
  chunk[at + 2] = value >>> 16;
  chunk[at + 3] = value >>> 24;
  return at + NUMBER_BYTES;
}

const readNumber = (chunk: Uint8Array, at: number): number =>
  new DataView(chunk.buffer).getUint32(at, true);

const bytesOf = (replies: readonly Message[]) =>
  replies.reduce(
    (sum, { body }) => sum + body.length + REPLY_OVERHEAD_BYTES,
    0,
  );

/** Replies to the requests of all consumers, with one common size limit. */
export class ReplyCache {
  readonly #replies = new GenerationalCache(
    REPLY_LIMITS,
    () => new ReplyArena(),
  );
  #consumers = 0;

  /** Returns a scope for the digests of one more consumer, which distinguishes them from those of other consumers. */
  scope(): number {
    return this.#consumers++;
  }

  /** Returns the replies to a request; undefined if they are not stored any more. */
  get(key: Digest): readonly Message[] | undefined {
    const found = this.#replies.get(key);
    return found?.shared.read(found.value);
  }

  /** Stores the replies to a request. */
  set(key: Digest, replies: readonly Message[]): void {
    this.#replies.set(key, bytesOf(replies), (arena) => arena.add(replies));
  }
}

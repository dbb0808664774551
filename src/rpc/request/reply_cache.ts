/**
 * Cache of the replies to recent requests. Each entry is a few hundred bytes in a buffer that many share, since thousands
 * of small objects that live for a minute cost several times as much memory.
 *
 * @module
 */
import type { Message } from "../../transport/transport.ts";
import { GenerationalCache } from "./generational_cache.ts";

/** Limits of one generation of replies. Two generations hold at most 32 MiB, and less for at least a minute. */
const REPLY_LIMITS = { ms: 60_000, entries: Infinity, bytes: 16 * 1024 * 1024 };
/** Bytes counted for a reply beside its body: its headers, its key, and its place in the cache. */
const REPLY_OVERHEAD_BYTES = 512;
/** Size of a buffer in bytes; larger for a single entry that needs it. */
const CHUNK_BYTES = 64 * 1024;

const utf8 = new TextEncoder();
const text = new TextDecoder();

/** Entries in buffers: the lengths of their parts, the messages without their bodies as JSON, and the bodies. */
class ReplyArena {
  readonly #chunks: Uint8Array[] = [];
  /** Offset of the next entry in the last buffer. */
  #at = 0;

  /** Adds an entry; returns its position. */
  add(replies: readonly Message[]): number {
    const head = JSON.stringify(
      replies.map(({ body, ...rest }) => [body.length, rest]),
    );
    const bodies = replies.reduce((sum, { body }) => sum + body.length, 0);
    const chunk = this.#chunkFor(4 + 3 * head.length + bodies);
    const from = this.#at;
    const { written } = utf8.encodeInto(head, chunk.subarray(from + 4));
    new DataView(chunk.buffer).setUint32(from, written);
    this.#at = from + 4 + written;
    for (const { body } of replies) {
      chunk.set(body, this.#at);
      this.#at += body.length;
    }
    const index = this.#chunks.length - 1;
    if (chunk.length > CHUNK_BYTES) this.#at = chunk.length; // it has one entry alone
    return index * CHUNK_BYTES + from;
  }

  /** Returns the replies at a position. */
  read(position: number): readonly Message[] {
    const chunk = this.#chunks[Math.floor(position / CHUNK_BYTES)];
    if (!chunk) return [];
    const from = position % CHUNK_BYTES;
    const length = new DataView(chunk.buffer).getUint32(from);
    let at = from + 4 + length;
    const head: [number, Omit<Message, "body">][] = JSON.parse(
      text.decode(chunk.subarray(from + 4, at)),
    );
    return head.map(([bytes, rest]) => ({
      ...rest,
      body: chunk.slice(at, at += bytes),
    }));
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

const bytesOf = (replies: readonly Message[]) =>
  replies.reduce(
    (sum, { body }) => sum + body.length + REPLY_OVERHEAD_BYTES,
    0,
  );

/** Replies to the requests of all consumers, with one common size limit. */
export class ReplyCache {
  readonly #replies = new GenerationalCache<number, ReplyArena>(
    REPLY_LIMITS,
    () => new ReplyArena(),
  );
  #consumers = 0;

  /** Returns a prefix for the keys of one more consumer, which distinguishes them from the keys of other consumers. */
  prefix(): string {
    const number = this.#consumers++;
    return number === 0 ? "" : `${number}/`;
  }

  /** Returns the replies to a request; undefined if they are not stored any more. */
  get(key: string): readonly Message[] | undefined {
    const found = this.#replies.get(key);
    return found?.shared.read(found.value);
  }

  /** Stores the replies to a request. */
  set(key: string, replies: readonly Message[]): void {
    this.#replies.set(key, bytesOf(replies), (arena) => arena.add(replies));
  }
}

/**
 * Recent requests of this process, running or done, by their keys. A request that arrives again is not run again.
 *
 * @module
 */
import type { Message } from "../../transport/transport.ts";
import { SlotMap } from "../../slot_map.ts";
import { digestOf } from "../cache/digest.ts";
import { DigestTable, type WordPair } from "../cache/digest_table.ts";
import { GenerationalCache } from "../cache/generational_cache.ts";
import { ReplyCache } from "../cache/reply_cache.ts";
import type { IncomingRequest } from "./incoming_request.ts";
import type { RequestKey } from "./request_key.ts";

/** Request that is being run. */
export class ActiveRequest {
  /** The request. */
  readonly incoming: IncomingRequest;
  /**
   * Release functions of waiting calls; the value is true for a call that stops waiting when the reply turns out to be
   * a stream. Undefined before the first call.
   */
  #waiting: Map<() => void, boolean> | undefined;
  #ended = false;

  /** Created by `RecentRequests`. */
  constructor(incoming: IncomingRequest) {
    this.incoming = incoming;
  }

  /** True if the reply goes to the same call as that of another request with the same key. */
  hasReaderOf({ key }: IncomingRequest): boolean {
    return this.incoming.key?.reader === key?.reader;
  }

  /** Releases all waiting calls, since the request has ended. */
  end(): void {
    this.#ended = true;
    this.#release(false);
  }

  /** Releases the waiting calls that cannot share a stream. */
  startStream(): void {
    this.#release(true);
  }

  /**
   * Resolves when the request has ended, or, if `stream` is true, when its reply turns out to be a stream. Rejects with
   * the reason of the signal. A call that stops waiting is removed at once, because any number of calls may wait while
   * the request runs.
   */
  until(signal: AbortSignal, stream: boolean): Promise<void> {
    if (this.#ended) return Promise.resolve();
    const waiting = this.#waiting ??= new Map();
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const released = () => {
        signal.removeEventListener("abort", aborted);
        resolve();
      };
      const aborted = () => {
        waiting.delete(released);
        reject(signal.reason);
      };
      waiting.set(released, stream);
      signal.addEventListener("abort", aborted, { once: true });
    });
  }

  #release(stream: boolean): void {
    for (const [release, endsWithStream] of this.#waiting ?? []) {
      if (stream && !endsWithStream) continue;
      this.#waiting?.delete(release);
      release();
    }
  }
}

/** Request that is done. */
export class DoneRequest {
  /** Replies to the request; empty if it has none, or if they are not stored any more. */
  readonly replies: readonly Message[];
  readonly #reader: WordPair;

  /** Created by `RecentRequests`. */
  constructor(replies: readonly Message[], reader: WordPair) {
    this.replies = replies;
    this.#reader = reader;
  }

  /** True if the replies went to the call of another request with the same key. */
  hasReaderOf({ key }: IncomingRequest): boolean {
    const { first, second } = readerDigest(key?.reader);
    return this.#reader.first === first && this.#reader.second === second;
  }
}

/** Request that arrived before. */
export type KnownRequest = ActiveRequest | DoneRequest;

/** Digest of no reply address. */
const NO_READER: WordPair = { first: 0, second: 0 };

/** Returns a digest of 64 bits of a reply address, since the address is only compared with others. */
function readerDigest(reader: string | undefined): WordPair {
  if (!reader) return NO_READER;
  const { a: first, b: second } = digestOf(reader);
  return { first, second };
}

/** Limits of one generation of ids. Two generations hold at most 100 000 ids, and fewer ids for at least 10 minutes. */
const ID_LIMITS = { ms: 600_000, entries: 50_000, bytes: Infinity };

/** Remembers the requests of one consumer. Requests without an id (Folsom) have no key: each of them runs. */
export class RecentRequests {
  readonly #active = new SlotMap<ActiveRequest>();
  /** Handles of the active requests. */
  readonly #handles = new DigestTable();
  /** Digests of the reply addresses of the requests that are done. */
  readonly #done = new GenerationalCache(ID_LIMITS, () => undefined);
  readonly #replyCache: ReplyCache;
  /** Scope of this consumer's digests in the reply cache. */
  readonly #scope: number;

  /** `replyCache` stores the replies; several consumers may share it. */
  constructor(replyCache: ReplyCache = new ReplyCache()) {
    this.#replyCache = replyCache;
    this.#scope = replyCache.scope();
  }

  /** Generations of requests evicted before ten minutes were over. */
  get evictions(): number {
    return this.#done.evictions;
  }

  /** Finds the earlier request with the same key. */
  find({ key }: IncomingRequest): KnownRequest | undefined {
    if (!key) return undefined;
    const active = this.#activeOf(key);
    if (active) return active;
    const done = this.#done.get(key.digest);
    if (!done) return undefined;
    const replies = this.#replyCache.get(key.digest.inScope(this.#scope));
    return new DoneRequest(replies ?? [], done.value);
  }

  /**
   * Stores a request until it ends, and then its replies. Another request with the same key, e.g. a stream for another
   * reader, is not replaced.
   */
  start(incoming: IncomingRequest, ended: Promise<void>): void {
    const { key } = incoming;
    if (!key || this.#activeOf(key)) return;
    const active = new ActiveRequest(incoming);
    const handle = this.#active.add(active);
    this.#handles.set(key.digest, { first: handle, second: 0 });
    void ended.then(() => {
      this.#handles.delete(key.digest);
      this.#active.delete(handle);
      this.#end(key, incoming);
      active.end();
    });
  }

  /**
   * Releases the other callers of a request whose reply turns out to be a stream, because the items go to one reader
   * only.
   */
  startStream(incoming: IncomingRequest): void {
    const { key } = incoming;
    const active = key && this.#activeOf(key);
    if (active?.incoming === incoming) active.startStream();
  }

  #activeOf({ digest }: RequestKey): ActiveRequest | undefined {
    const value = this.#handles.get(digest);
    return value && this.#active.get(value.first);
  }

  /**
   * Stores a request that has ended as done, with its replies. An abandoned or fenced request is not stored: it was not
   * done here, and has to run if it arrives again.
   */
  #end({ digest, reader }: RequestKey, incoming: IncomingRequest): void {
    const { settlement: { abandoned, fenced }, replies } = incoming;
    if (abandoned || fenced) return;
    this.#done.set(digest, 0, () => readerDigest(reader));
    if (replies.length === 0) return;
    this.#replyCache.set(digest.inScope(this.#scope), replies);
  }
}

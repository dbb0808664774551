/**
 * Recent requests of this process, running or done, by their keys. A request that arrives again is not run again; one
 * that has the key of another request, but not its content, never gets that one's replies.
 *
 * @module
 */
import type { Message } from "../../transport/transport.ts";
import type { ReplyAddress } from "../../wire/mod.ts";
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
   * Release functions of waiting calls; the value is true for a call that stops waiting as soon as the replies are
   * known, or turn out to be a stream. Undefined before the first call.
   */
  #waiting: Map<() => void, boolean> | undefined;
  #ended = false;

  /** Created by `RecentRequests`. */
  constructor(incoming: IncomingRequest) {
    this.incoming = incoming;
  }

  /** True if another request with the same key has the same content. */
  hasContentOf({ key }: IncomingRequest): boolean {
    return this.incoming.key?.content === key?.content;
  }

  /** True if the reply goes to the same call as that of another request with the same key, whatever its reply queue. */
  hasCallOf({ request: { reply } }: IncomingRequest): boolean {
    return this.incoming.request.reply?.call === reply?.call;
  }

  /** True if the reply goes to the same call and reply queue as that of another request with the same key. */
  hasReaderOf({ request: { reply } }: IncomingRequest): boolean {
    return readerOf(this.incoming.request.reply) === readerOf(reply);
  }

  /** Releases all waiting calls, since the request has ended. */
  end(): void {
    this.#ended = true;
    this.#release(false);
  }

  /** Releases the waiting calls that share the replies: these are known now, or are a stream, which cannot be shared. */
  releaseShared(): void {
    this.#release(true);
  }

  /**
   * Resolves when the request has ended, or, if `shared` is true, when its replies are known or turn out to be a stream.
   * Rejects with the reason of the signal. A call that stops waiting is removed at once, because any number of calls may
   * wait while the request runs.
   */
  until(signal: AbortSignal, shared: boolean): Promise<void> {
    if (this.#ended) return Promise.resolve();
    if (shared && this.incoming.replies.length > 0) return Promise.resolve();
    const waiting = this.#waiting ??= new Map();
    if (shared) this.incoming.onReplies(() => this.releaseShared());
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
      waiting.set(released, shared);
      signal.addEventListener("abort", aborted, { once: true });
    });
  }

  #release(sharedOnly: boolean): void {
    for (const [release, shared] of this.#waiting ?? []) {
      if (sharedOnly && !shared) continue;
      this.#waiting?.delete(release);
      release();
    }
  }
}

/** Request that is done. */
export class DoneRequest {
  /** Replies to the request; empty if it has none, or if they are not stored any more. */
  readonly replies: readonly Message[];
  readonly #known: WordPair;

  /** Created by `RecentRequests`. */
  constructor(replies: readonly Message[], known: WordPair) {
    this.replies = replies;
    this.#known = known;
  }

  /** True if another request with the same key has the same content. */
  hasContentOf({ key }: IncomingRequest): boolean {
    return this.#known.first === key?.contentDigest.a;
  }

  /** True if the replies went to the call and reply queue of another request with the same key. */
  hasReaderOf({ request: { reply } }: IncomingRequest): boolean {
    return this.#known.second === readerWord(reply);
  }
}

/** Request that arrived before. */
export type KnownRequest = ActiveRequest | DoneRequest;

/** Returns a reply address as a text; undefined for a cast. */
function readerOf(reply: ReplyAddress | undefined): string | undefined {
  return reply && `${reply.call.length} ${reply.call}${reply.queue}`;
}

/** Returns one word of the digest of a reply address, which is only compared with others; 0 for a cast. */
function readerWord(reply: ReplyAddress | undefined): number {
  const reader = readerOf(reply);
  return reader === undefined ? 0 : digestOf(reader).a;
}

/** Limits of one generation of ids. Two generations hold at most 100 000 ids, and fewer ids for at least 10 minutes. */
const ID_LIMITS = { ms: 600_000, entries: 50_000, bytes: Infinity };

/** Remembers the requests of one consumer. Requests without an id (Folsom) have no key: each of them runs. */
export class RecentRequests {
  readonly #active = new SlotMap<ActiveRequest>();
  /** Handles of the active requests. */
  readonly #handles = new DigestTable();
  /**
   * Requests that are done: one word of the digest of the content, and one of the reply address. The replies are stored
   * by the whole digests of key and content, so that no other content finds them.
   */
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

  /** Finds the earlier request with the same key. It may have another content; see `hasContentOf`. */
  find({ key }: IncomingRequest): KnownRequest | undefined {
    if (!key) return undefined;
    const { contentDigest } = key; // read here, since the handler may change the arguments
    const active = this.#activeOf(key);
    if (active) return active;
    const done = this.#done.get(key.digest);
    if (!done) return undefined;
    const both = key.digest.with(contentDigest);
    const replies = this.#replyCache.get(both.inScope(this.#scope));
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
    if (active?.incoming === incoming) active.releaseShared();
  }

  #activeOf({ digest }: RequestKey): ActiveRequest | undefined {
    const value = this.#handles.get(digest);
    return value && this.#active.get(value.first);
  }

  /**
   * Stores a request that has ended as done, with its replies. An abandoned or fenced request is not stored: it was not
   * done here, and has to run if it arrives again.
   */
  #end({ digest, contentDigest }: RequestKey, incoming: IncomingRequest): void {
    const { settlement: { abandoned, fenced }, replies, request } = incoming;
    if (abandoned || fenced) return;
    const known = { first: contentDigest.a, second: readerWord(request.reply) };
    this.#done.set(digest, 0, () => known);
    if (replies.length === 0) return;
    const both = digest.with(contentDigest);
    this.#replyCache.set(both.inScope(this.#scope), replies);
  }
}

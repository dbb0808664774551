/**
 * Recent requests of this process, running or done, by their keys. A request that arrives again is not run again.
 *
 * @module
 */
import type { Message } from "../../transport/transport.ts";
import { KeyedSlotMap } from "../../slot_map.ts";
import type { IncomingRequest } from "./incoming_request.ts";

/** Request that is being run. */
export class ActiveRequest {
  /** The request. */
  readonly incoming: IncomingRequest;
  /** Reply address of the request, if the key does not contain it. */
  readonly reader: string;
  /**
   * Release functions of waiting calls; the value is true for a call that stops waiting when the reply turns out to be
   * a stream. Undefined before the first call.
   */
  #waiting: Map<() => void, boolean> | undefined;
  #ended = false;

  /** Created by `RecentRequests`. */
  constructor(incoming: IncomingRequest, reader: string) {
    this.incoming = incoming;
    this.reader = reader;
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

/**
 * Request that arrived before: it is running, or done with these replies. `replies` is empty if they are not stored any
 * more.
 */
export type KnownRequest = ActiveRequest | {
  readonly reader: string;
  readonly replies: readonly Message[];
};

/** Entries that were added within one period. */
interface Generation<T> {
  readonly since: number;
  readonly entries: Map<string, T>;
  /** Bytes of the entries. */
  bytes: number;
}

/** Limits of one generation of ids. Two generations hold at most 100 000 ids, and fewer ids for at least 10 minutes. */
const ID_LIMITS = { ms: 600_000, entries: 50_000, bytes: Infinity };
/** Limits of one generation of replies. Two generations hold at most 32 MiB, and less for at least a minute. */
const REPLY_LIMITS = { ms: 60_000, entries: Infinity, bytes: 16 * 1024 * 1024 };
/** Bytes counted for a reply beside its body. */
const REPLY_OVERHEAD_BYTES = 512;
/** Size of a chunk of bodies. */
const CHUNK_BYTES = 64 * 1024;

/** Cache of two generations. The older one is evicted as a whole, so that no entry has to be searched for. */
class GenerationalCache<T> {
  readonly #limits: typeof ID_LIMITS;
  #young: Generation<T> = fresh();
  #old: Generation<T> = fresh();
  /** Generations evicted for their size before their retention time was over. */
  evictions = 0;

  constructor(limits: typeof ID_LIMITS) {
    this.#limits = limits;
  }

  get(id: string): T | undefined {
    return this.#young.entries.get(id) ?? this.#old.entries.get(id);
  }

  set(id: string, value: T, bytes: number): void {
    const { since, entries } = this.#young;
    const { ms, entries: maxEntries, bytes: maxBytes } = this.#limits;
    const full = entries.size >= maxEntries ||
      this.#young.bytes + bytes > maxBytes;
    const now = performance.now();
    if (full || now - since >= ms) {
      if (this.#old.entries.size > 0 && now - since < ms) this.evictions++;
      this.#old = this.#young;
      this.#young = fresh();
    }
    this.#young.entries.set(id, value);
    this.#young.bytes += bytes;
  }
}

function fresh<T>(): Generation<T> {
  return { since: performance.now(), entries: new Map(), bytes: 0 };
}

const bytesOf = (replies: readonly Message[]) =>
  replies.reduce(
    (sum, { body }) => sum + body.length + REPLY_OVERHEAD_BYTES,
    0,
  );

/** Copies bodies into chunks. A received body is part of a larger buffer, which it would keep in memory. */
class BodyArena {
  #chunk = new Uint8Array();
  #at = 0;

  /** Copies messages, with their bodies. */
  copy(messages: readonly Message[]): readonly Message[] {
    return messages.map((message) => ({
      ...message,
      body: this.#copy(message.body),
    }));
  }

  #copy(body: Uint8Array): Uint8Array {
    if (body.length > CHUNK_BYTES / 4) return Uint8Array.from(body);
    if (this.#at + body.length > this.#chunk.length) {
      this.#chunk = new Uint8Array(CHUNK_BYTES);
      this.#at = 0;
    }
    const copy = this.#chunk.subarray(this.#at, this.#at += body.length);
    copy.set(body);
    return copy;
  }
}

/** Replies to the requests of all consumers, with one common size limit. */
export class ReplyCache {
  readonly #replies = new GenerationalCache<readonly Message[]>(REPLY_LIMITS);
  readonly #bodies = new BodyArena();
  #consumers = 0;

  /** Returns a prefix for the keys of one more consumer, which distinguishes them from the keys of other consumers. */
  prefix(): string {
    const number = this.#consumers++;
    return number === 0 ? "" : `${number}/`;
  }

  get(id: string): readonly Message[] | undefined {
    return this.#replies.get(id);
  }

  set(id: string, replies: readonly Message[]): void {
    this.#replies.set(id, this.#bodies.copy(replies), bytesOf(replies));
  }
}

/** Remembers the requests of one consumer. Requests without an id (Folsom) have no key: each of them runs. */
export class RecentRequests {
  readonly #active = new KeyedSlotMap<string, ActiveRequest>();
  /** Reply addresses of the requests that are done. */
  readonly #done = new GenerationalCache<string>(ID_LIMITS);
  readonly #replyCache: ReplyCache;
  readonly #prefix: string;

  /** `replyCache` stores the replies; several consumers may share it. */
  constructor(replyCache: ReplyCache = new ReplyCache()) {
    this.#replyCache = replyCache;
    this.#prefix = replyCache.prefix();
  }

  /** Generations of requests evicted before ten minutes were over. */
  get evictions(): number {
    return this.#done.evictions;
  }

  /** Finds the earlier request with the same key. */
  find(key: string): KnownRequest | undefined {
    const active = this.#active.get(key);
    const reader = active ? undefined : this.#done.get(key);
    if (reader === undefined) return active;
    return { reader, replies: this.#replyCache.get(this.#prefix + key) ?? [] };
  }

  /**
   * Stores a request until it ends, and then its replies. Another request with the same key, e.g. a stream for another
   * reader, is not replaced.
   */
  start(
    key: string,
    incoming: IncomingRequest,
    reader: string,
    ended: Promise<void>,
  ): void {
    if (this.#active.get(key)) return;
    const active = new ActiveRequest(incoming, reader);
    this.#active.set(key, active);
    void ended.then(() => this.#end(key, active));
  }

  /**
   * Releases the other callers of a request whose reply turns out to be a stream, because the items go to one reader
   * only.
   */
  startStream(key: string | undefined, incoming: IncomingRequest): void {
    const active = key === undefined ? undefined : this.#active.get(key);
    if (active?.incoming === incoming) active.startStream();
  }

  /**
   * Removes a running request, and stores it as done. An abandoned or fenced request is not stored: it was not done
   * here, and has to run if it arrives again.
   */
  #end(key: string, active: ActiveRequest): void {
    const { incoming: { settlement, replies }, reader } = active;
    const { abandoned, fenced } = settlement;
    this.#active.delete(key);
    if (!abandoned && !fenced) this.#done.set(key, reader, 0);
    const isRepeatable = !abandoned && !fenced && replies.length > 0;
    if (isRepeatable) this.#replyCache.set(this.#prefix + key, replies);
    active.end();
  }
}

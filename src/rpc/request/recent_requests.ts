/**
 * Recent requests of this process, running or done, by their keys. A request that arrives again is not run again.
 *
 * @module
 */
import type { Message } from "../../transport/transport.ts";
import { KeyedSlotMap } from "../../slot_map.ts";
import { GenerationalCache } from "./generational_cache.ts";
import { ReplyCache } from "./reply_cache.ts";
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

/** Limits of one generation of ids. Two generations hold at most 100 000 ids, and fewer ids for at least 10 minutes. */
const ID_LIMITS = { ms: 600_000, entries: 50_000, bytes: Infinity };

/** Remembers the requests of one consumer. Requests without an id (Folsom) have no key: each of them runs. */
export class RecentRequests {
  readonly #active = new KeyedSlotMap<string, ActiveRequest>();
  /** Reply addresses of the requests that are done. */
  readonly #done = new GenerationalCache<string>(ID_LIMITS, () => undefined);
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
    const reader = active ? undefined : this.#done.get(key)?.value;
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
    if (!abandoned && !fenced) this.#done.set(key, 0, () => reader);
    const isRepeatable = !abandoned && !fenced && replies.length > 0;
    if (isRepeatable) this.#replyCache.set(this.#prefix + key, replies);
    active.end();
  }
}

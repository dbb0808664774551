/** Answers on their way to whoever waits for them. @module */
import type { Reply } from "../wire/envelope.ts";

/** Someone who waits for the answers to one call. */
export interface Pending {
  /** Inbox of the worker that has the call, once it has shown itself. */
  readonly worker: string | undefined;
  /** Takes an answer, or a part of one. */
  receive(reply: Reply): void;
  /** Ends the wait with an error. */
  fail(error: unknown): void;
  /** The request found no queue. */
  unrouted(error: unknown): void;
}

/** Waits for one value: the last result before the ending wins (Nova: `call` is the last of `multicall`). */
export class Answer implements Pending {
  readonly #settled = Promise.withResolvers<Reply>();
  #last: Reply | undefined;
  /** Inbox of the worker that has the call, once it has shown itself. */
  worker: string | undefined;
  /** Called at each sign of life. */
  alive: () => void = () => {};
  /** Called when the request found no queue. */
  unrouted: (error: unknown) => void = (error) => this.fail(error);

  /** The answer: a reply with the result, or with a failure. */
  get promise(): Promise<Reply> {
    return this.#settled.promise;
  }

  receive(reply: Reply): void {
    this.worker = reply.inbox ?? this.worker;
    this.alive();
    if (reply.beat) return;
    const empty = reply.result === null || reply.result === undefined;
    if (!empty || this.#last === undefined) this.#last = reply;
    // The ending of the two-message form has no result of its own; a failure always ends.
    if (reply.ending) this.#settled.resolve(reply.failure ? reply : this.#last);
  }

  fail(error: unknown): void {
    this.#settled.reject(error);
  }
}

/** One question to one worker, and its answer. @module */
import type { PendingReply } from "../inbox.ts";
import type { Reply } from "../../wire/mod.ts";
import { delay } from "../../async/deadline.ts";
import { type Address, queueFor } from "../../transport/address.ts";
import type { CallLimits } from "./call_options.ts";
import {
  type CallerParts,
  encodeCall,
  type OutgoingRequest,
} from "./request_encoder.ts";
import { TimeoutError } from "../../errors.ts";
import {
  clearDeadline,
  setDeadline,
  type Timer as Expiry,
} from "../../async/timer_wheel.ts";
import type { LegacyReplyQueues } from "./legacy_reply_queues.ts";
import type { PendingCalls } from "./pending_calls.ts";

/** What asking needs beyond what a caller is made of. */
export interface AskParts extends CallerParts {
  /** Who waits for what. */
  readonly pendingCalls: PendingCalls;
  /** Where old servers answer. */
  readonly legacyReplyQueues: LegacyReplyQueues;
}

/** Milliseconds that may pass after the deadline to learn whether anybody listens. */
const REPLY_GRACE_MS = 150;

/** Sends a request and waits for its answer: a reply with the result, or with a failure. */
export async function unaryCall(
  parts: AskParts,
  outgoing: OutgoingRequest,
  { address, queue }: { readonly address: Address; readonly queue: string },
  callLimits: CallLimits,
): Promise<Reply> {
  const { pendingCalls, legacyReplyQueues, session } = parts;
  const { deadline } = callLimits;
  const future = new ReplyFuture();
  future.promise.catch(() => {}); // it may fail before anybody awaits it
  const message = encodeCall(parts, outgoing, callLimits, {
    timeout: callLimits.timeout,
  });
  pendingCalls.add(outgoing.id, future);
  using limits = new CallTimers(parts, outgoing, callLimits, future);
  using _answers = legacyReplyQueues.needs(queue)
    ? await legacyReplyQueues.prepare(outgoing.id, deadline)
    : undefined;
  const sent = session.send(address, message, deadline)
    .then(() => limits.begin(), (error) => future.fail(error));
  if (callLimits.idempotent) await Promise.race([sent, future.promise]); // the connection may be disposed while the request still waits
  using _again = callLimits.idempotent
    ? resendAfterReconnect(parts, { outgoing, address, callLimits, future })
    : undefined;
  try {
    const reply = await future.promise;
    legacyReplyQueues.learn(queue, reply.call);
    return reply;
  } catch (error) {
    if (error instanceof TimeoutError) {
      legacyReplyQueues.learn(queue, undefined); // an old server may serve the queue now
    }
    throw error;
  }
}

/** Fails an answer at its deadline, on its signal, and when its worker falls silent, until disposed. */
class CallTimers implements Disposable {
  readonly #parts: AskParts;
  readonly #outgoing: OutgoingRequest;
  readonly #callLimits: CallLimits;
  readonly #future: ReplyFuture;
  readonly #expiry: Expiry;
  #silence: Expiry | undefined;
  #posted = false;
  #overdue = false;

  constructor(
    parts: AskParts,
    outgoing: OutgoingRequest,
    callLimits: CallLimits,
    future: ReplyFuture,
  ) {
    this.#parts = parts;
    this.#outgoing = outgoing;
    this.#callLimits = callLimits;
    this.#future = future;
    const { at, signal } = callLimits.deadline;
    this.#expiry = setDeadline(at, () => this.#late());
    signal?.addEventListener("abort", this);
    if (callLimits.monitor !== undefined) future.alive = () => this.#alive();
  }

  /** The request is on its way. While it waited to be sent, `post` knew best why it did. */
  begin(): void {
    this.#posted = true;
    this.#future.alive();
    if (this.#overdue) this.#late();
  }

  /** The signal has fired. */
  handleEvent(): void {
    this.#future.fail(this.#callLimits.deadline.signal?.reason);
    this.#parts.pendingCalls.cancel(this.#outgoing.id, this.#future.worker);
  }

  [Symbol.dispose](): void {
    this.#future.alive = () => {};
    if (this.#silence) clearDeadline(this.#silence);
    clearDeadline(this.#expiry);
    this.#callLimits.deadline.signal?.removeEventListener("abort", this);
    this.#parts.pendingCalls.remove(this.#outgoing.id);
  }

  #late(): void {
    this.#overdue = true;
    if (!this.#posted) return;
    void expire(
      this.#parts,
      this.#outgoing,
      this.#callLimits.timeout,
      this.#future,
    );
  }

  #alive(): void {
    const { monitor = Infinity } = this.#callLimits;
    if (this.#silence) clearDeadline(this.#silence);
    const fail = () => this.#future.fail(silent(this.#outgoing, monitor));
    this.#silence = setDeadline(performance.now() + monitor, fail);
  }
}

function silent(
  { target, method }: OutgoingRequest,
  monitor: number,
): TimeoutError {
  const queue = queueFor(target.topic, target.host);
  return new TimeoutError(
    `No sign of life of ${method} from ${queue} for ${Math.round(monitor)} ms`,
  );
}

/** Says with the timeout whether anybody listens, if the broker tells in time. */
async function expire(
  { inbox }: AskParts,
  { target, method }: OutgoingRequest,
  timeout: number,
  future: ReplyFuture,
): Promise<void> {
  const queue = queueFor(target.topic, target.host);
  const consumers = await inbox.consumers(queue, {
    at: performance.now() + REPLY_GRACE_MS,
  });
  const who = consumers === 0
    ? "nobody consumes its queue"
    : `its queue has ${consumers} consumers`;
  const text = `No answer to ${method} from ${queue} within ${
    Math.round(timeout)
  } ms`;
  future.fail(
    new TimeoutError(consumers === undefined ? text : `${text}; ${who}`, {
      consumers,
    }),
  );
}

/** Milliseconds between two tries while a queue is not made anew yet. */
const UNMADE = 250;

/** What is asked, and who waits for it. */
export interface PendingRequest {
  /** The request. */
  readonly outgoing: OutgoingRequest;
  /** Where it goes. */
  readonly address: Address;
  /** How long it may take. */
  readonly callLimits: CallLimits;
  /** Who waits. */
  readonly future: ReplyFuture;
}

/**
 * With the same id, at each return of the link after a loss in which the request may have gone, until disposed: a worker that has it in hand, or has answered it, does not
 * run it again.
 */
export function resendAfterReconnect(
  parts: CallerParts,
  { outgoing, address, callLimits, future }: PendingRequest,
): Disposable {
  const over = new AbortController();
  const { at } = callLimits.deadline;
  const wait = { at: at, signal: over.signal };
  const losses = () => parts.health().publishing.losses;
  let sentAfter = losses();
  const again = async () => {
    const timeout = at - performance.now();
    if (timeout <= 0) return;
    future.alive();
    const message = encodeCall(parts, outgoing, { ...callLimits, timeout }, {
      timeout,
    });
    await parts.session.send(address, message, wait);
    sentAfter = losses();
  };
  const later = async () => {
    await delay(UNMADE, wait);
    await again();
  };
  const quietly = (work: Promise<void>) => void work.catch(() => {}); // its deadline, or the next return
  const watching = parts.watch(({ type }) => {
    if (type !== "connected" || losses() === sentAfter) return;
    future.unrouted = () => quietly(later());
    quietly(again());
  });
  return {
    [Symbol.dispose]: () => {
      watching[Symbol.dispose]();
      over.abort();
    },
  };
}

/** Waits for one value: the last result before the ending wins (Nova: `call` is the last of `multicall`). */
export class ReplyFuture implements PendingReply {
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
    if (reply.heartbeat) return;
    const empty = reply.result === null || reply.result === undefined;
    if (!empty || this.#last === undefined) this.#last = reply;
    // The ending of the two-message form has no result of its own; a failure always ends.
    if (reply.ending) this.#settled.resolve(reply.failure ? reply : this.#last);
  }

  fail(error: unknown): void {
    this.#settled.reject(error);
  }
}

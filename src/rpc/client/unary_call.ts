/** Call to one worker, and its reply. @module */
import { TimeoutError } from "../../errors.ts";
import { delay } from "../../async/deadline.ts";
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import type { Reply } from "../../wire/mod.ts";
import type { Inbox, PendingReply } from "../inbox.ts";
import type { MessagingResources } from "../messaging.ts";
import type { LegacyReplyQueues } from "../call_queues.ts";
import type { PendingCalls } from "./pending_calls.ts";
import type { OutgoingRequest, RequestEncoder } from "./request_encoder.ts";

/** Collaborators of a client's calls. */
export interface CallResources extends MessagingResources {
  /** Encodes requests. */
  readonly encoder: RequestEncoder;
  /** Calls that wait for a reply. */
  readonly pendingCalls: PendingCalls;
  /** Reply queues for old servers. */
  readonly legacyReplyQueues: LegacyReplyQueues;
}

/** Milliseconds after the deadline for the broker to report the number of consumers, for the text of the error. */
const CONSUMER_COUNT_TIMEOUT_MS = 150;
/** Milliseconds between two attempts to resend a request whose queue has not been declared again yet. */
const RESEND_INTERVAL_MS = 250;

/** Sends a request and waits for its reply: the result, or a failure. */
export async function unaryCall(
  resources: CallResources,
  outgoing: OutgoingRequest,
): Promise<Reply> {
  const { inbox, session, legacyReplyQueues, encoder } = resources;
  const { limits: { deadline }, destination: { address, queue } } = outgoing;
  if (!inbox.read) await inbox.ready(deadline);
  const message = encoder.encode(outgoing);
  using call = new UnaryCall(resources, outgoing);
  const { future } = call;
  using _replies = legacyReplyQueues.needs(queue)
    ? await legacyReplyQueues.prepare(outgoing.id, deadline)
    : undefined;
  const sent = session.send(address, message, deadline)
    .then(() => call.onSent(), (error) => future.fail(error));
  if (outgoing.hints.idempotent) {
    await Promise.race([sent, future.promise]); // the connection may be disposed while the request still waits
    call.resendAfterReconnect();
  }
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

/** Fails a reply at its deadline, on its signal, and when its worker sends no heartbeat in time, until disposed. */
class UnaryCall implements ReplyListener, Disposable {
  readonly future: ReplyFuture = new ReplyFuture(this);
  readonly #resources: CallResources;
  readonly #outgoing: OutgoingRequest;
  readonly #expiry: Timer;
  #silence: Timer | undefined;
  #resending: Resending | undefined;
  #sent = false;
  #overdue = false;
  #disposed = false;

  constructor(resources: CallResources, outgoing: OutgoingRequest) {
    this.#resources = resources;
    this.#outgoing = outgoing;
    this.future.promise.catch(() => {}); // the promise may reject before it is awaited
    resources.pendingCalls.add(outgoing.id, this.future);
    const { at, signal } = outgoing.limits.deadline;
    this.#expiry = setDeadline(at, () => this.#expire());
    signal?.addEventListener("abort", this);
  }

  /** Notes that the request was sent. Until then the deadline is left to `send`, whose error says why the request waits. */
  onSent(): void {
    this.#sent = true;
    this.onReply();
    if (this.#overdue) this.#expire();
  }

  onReply(): void {
    const { monitor } = this.#outgoing.limits;
    if (monitor === undefined || this.#disposed) return;
    if (this.#silence) clearDeadline(this.#silence);
    const fail = () => this.future.fail(silent(this.#outgoing, monitor));
    this.#silence = setDeadline(performance.now() + monitor, fail);
  }

  onUnroutable(error: unknown): void {
    if (!this.#resending?.retry()) this.future.fail(error);
  }

  /** Sends the request again at each reconnection to the broker, since it may have been lost with the connection. */
  resendAfterReconnect(): void {
    if (this.#disposed) return;
    this.#resending = new Resending(
      this.#resources,
      this.#outgoing,
      () => this.onReply(),
    );
  }

  /** Fails the call when its signal fires, and cancels it on the worker. */
  handleEvent(): void {
    const { limits, id } = this.#outgoing;
    this.future.fail(limits.deadline.signal?.reason);
    this.#resources.pendingCalls.cancel(id, this.future.worker);
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#resending?.[Symbol.dispose]();
    if (this.#silence) clearDeadline(this.#silence);
    clearDeadline(this.#expiry);
    const { limits, id } = this.#outgoing;
    limits.deadline.signal?.removeEventListener("abort", this);
    this.#resources.pendingCalls.remove(id);
  }

  #expire(): void {
    this.#overdue = true;
    if (this.#sent) void expire(this.#resources, this.#outgoing, this.future);
  }
}

function silent(
  { destination: { queue }, method }: OutgoingRequest,
  monitor: number,
): TimeoutError {
  return new TimeoutError(
    `No sign of life of ${method} from ${queue} for ${Math.round(monitor)} ms`,
  );
}

/** Fails a call with a timeout error that has the number of consumers of its queue. */
async function expire(
  { inbox }: CallResources,
  { destination: { queue }, method, limits: { timeout } }: OutgoingRequest,
  future: ReplyFuture,
): Promise<void> {
  const text = `No answer to ${method} from ${queue} within ${
    Math.round(timeout)
  } ms`;
  future.fail(await timeoutError(inbox, queue, text));
}

/** Creates a timeout error. It has the number of consumers of a queue, if the broker replies in time. */
export async function timeoutError(
  inbox: Inbox,
  queue: string,
  text: string,
): Promise<TimeoutError> {
  const consumers = await inbox.consumers(queue, {
    at: performance.now() + CONSUMER_COUNT_TIMEOUT_MS,
  });
  const who = consumers === 0
    ? "nobody consumes its queue"
    : `its queue has ${consumers} consumers`;
  return new TimeoutError(consumers === undefined ? text : `${text}; ${who}`, {
    consumers,
  });
}

/**
 * Sends a request again, with the same id, after each loss of the connection in which the request may have been lost,
 * until disposed. A worker that runs the request, or has replied to it, does not run it a second time.
 */
class Resending implements Disposable {
  readonly #resources: CallResources;
  readonly #outgoing: OutgoingRequest;
  readonly #onResend: () => void;
  readonly #ended = new AbortController();
  readonly #deadline: { readonly at: number; readonly signal: AbortSignal };
  readonly #watching: Disposable;
  #lossesAtSend: number;
  #resent = false;

  constructor(
    resources: CallResources,
    outgoing: OutgoingRequest,
    onResend: () => void,
  ) {
    this.#resources = resources;
    this.#outgoing = outgoing;
    this.#onResend = onResend;
    const { at } = outgoing.limits.deadline;
    this.#deadline = { at, signal: this.#ended.signal };
    this.#lossesAtSend = this.#losses;
    this.#watching = resources.transport.onEvent(({ type }) => {
      if (type !== "connected" || this.#losses === this.#lossesAtSend) return;
      this.#resent = true;
      void this.#resend().catch(() => {}); // the deadline ends the call, or the next reconnection sends it again
    });
  }

  /**
   * Sends the request again after a pause, since its queue may not have been declared again yet. False if the request
   * was not resent before.
   */
  retry(): boolean {
    if (!this.#resent) return false;
    void delay(RESEND_INTERVAL_MS, this.#deadline)
      .then(() => this.#resend())
      .catch(() => {});
    return true;
  }

  [Symbol.dispose](): void {
    this.#watching[Symbol.dispose]();
    this.#ended.abort();
  }

  get #losses(): number {
    return this.#resources.transport.health().publishing.losses;
  }

  async #resend(): Promise<void> {
    const { limits, destination: { address } } = this.#outgoing;
    const timeout = limits.deadline.at - performance.now();
    if (timeout <= 0) return;
    this.#onResend();
    const { encoder, session } = this.#resources;
    const resent = { ...this.#outgoing, limits: { ...limits, timeout } };
    await session.send(address, encoder.encode(resent), this.#deadline);
    this.#lossesAtSend = this.#losses;
  }
}

/** Receives the events of a call. */
export interface ReplyListener {
  /** Called for each reply and heartbeat of the worker. */
  onReply(): void;
  /** Called when no queue took the request. */
  onUnroutable(error: unknown): void;
}

/**
 * Waits for the result of a call. Of several results, the last one before the ending counts (Nova: `call` returns the
 * last item of `multicall`).
 */
export class ReplyFuture implements PendingReply {
  readonly #listener: ReplyListener | undefined;
  readonly #settled = Promise.withResolvers<Reply>();
  #last: Reply | undefined;
  #worker: string | undefined;

  /** Without a listener, an unroutable request fails the call at once. */
  constructor(listener?: ReplyListener) {
    this.#listener = listener;
  }

  /** Inbox of the worker that runs the call; undefined before the first reply. */
  get worker(): string | undefined {
    return this.#worker;
  }

  /** Resolves to the reply, which has a result or a failure. */
  get promise(): Promise<Reply> {
    return this.#settled.promise;
  }

  receive(reply: Reply): void {
    this.#worker = reply.inbox ?? this.#worker;
    this.#listener?.onReply();
    if (reply.heartbeat) return;
    const empty = reply.result === null || reply.result === undefined;
    if (!empty || this.#last === undefined) this.#last = reply;
    // In the two-message form, the ending has no result of its own. A failure always ends the call.
    if (reply.ending) this.#settled.resolve(reply.failure ? reply : this.#last);
  }

  fail(error: unknown): void {
    this.#settled.reject(error);
  }

  onUnroutable(error: unknown): void {
    if (this.#listener) this.#listener.onUnroutable(error);
    else this.fail(error);
  }
}

/** Result in one reply. */
export interface CallResult {
  /** Value; undefined if the reply has none. */
  readonly value: unknown;
  /** True if the worker has parsed the value by its schema. */
  readonly parsed: boolean;
}

/** Call to one worker, and its reply. @module */
import { TimeoutError } from "../../errors.ts";
import { delay } from "../../async/deadline.ts";
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import type { Message } from "../../transport/transport.ts";
import type { Reply } from "../../wire/mod.ts";
import type { Inbox, PendingReply } from "../inbox.ts";
import type { CallResources } from "./pending_calls.ts";
import type { OutgoingRequest } from "./request_encoder.ts";

/** Milliseconds after the deadline for the broker to report the state of the queue, for the text of the error. */
const QUEUE_STATE_TIMEOUT_MS = 150;
/** Milliseconds between two attempts to resend a request whose queue has not been declared again yet. */
const RESEND_INTERVAL_MS = 250;

/** Sends a request and waits for its reply: the result, or a failure. */
export function unaryCall(
  resources: CallResources,
  outgoing: OutgoingRequest,
): Promise<Reply> {
  const { inbox, encoder, legacyReplyQueues } = resources;
  const isReady = inbox.read &&
    !legacyReplyQueues.needs(outgoing.destination.queue);
  if (!isReady) return prepareAndCall(resources, outgoing);
  const message = encoder.encode(outgoing);
  return new UnaryCall(resources, outgoing).send(message);
}

/** Sends a request when replies to it can be received. */
async function prepareAndCall(
  resources: CallResources,
  outgoing: OutgoingRequest,
): Promise<Reply> {
  const { inbox, encoder, legacyReplyQueues } = resources;
  const { id, limits: { deadline }, destination: { queue } } = outgoing;
  if (!inbox.read) await inbox.ready(deadline);
  const message = encoder.encode(outgoing);
  const call = new UnaryCall(resources, outgoing);
  call.reply.catch(() => {}); // the call may end before its reply queue is declared
  try {
    using _replies = legacyReplyQueues.needs(queue)
      ? await legacyReplyQueues.prepare(id, deadline)
      : undefined;
    return await call.send(message);
  } catch (error) {
    call.fail(error);
    return await call.reply; // the error with which it ended first
  }
}

/**
 * A call, from its sending to its reply. It fails at its deadline, on its signal, and when its worker sends no heartbeat in
 * time. Of several results, the last one before the ending counts (Nova: `call` returns the last item of `multicall`).
 */
export class UnaryCall implements PendingReply {
  readonly #resources: CallResources;
  readonly #outgoing: OutgoingRequest;
  readonly #reply = Promise.withResolvers<Reply>();
  readonly #expiry: Timer;
  #silence: Timer | undefined;
  #resending: Resending | undefined;
  #worker: string | undefined;
  #last: Reply | undefined;
  #sent = false;
  #overdue = false;
  #settled = false;

  /**
   * Registers the call.
   *
   * @throws {ConnectionFailedError} the transport has failed for good, so no reply can be received.
   */
  constructor(resources: CallResources, outgoing: OutgoingRequest) {
    this.#resources = resources;
    this.#outgoing = outgoing;
    resources.pendingCalls.add(outgoing.id, this);
    const { at, signal } = outgoing.limits.deadline;
    this.#expiry = setDeadline(at, () => this.#expire());
    signal?.addEventListener("abort", this);
  }

  /** Inbox of the worker that runs the call; undefined before the first reply. */
  get worker(): string | undefined {
    return this.#worker;
  }

  /** Resolves to the reply, which has a result or a failure. */
  get reply(): Promise<Reply> {
    return this.#reply.promise;
  }

  /** Sends the request, unless the call has ended; see `reply`. */
  send(message: Message): Promise<Reply> {
    if (this.#settled) return this.reply;
    const { destination: { address }, limits: { deadline } } = this.#outgoing;
    this.#resources.session.send(address, message, deadline)
      .then(() => this.#onSent(), (error) => this.fail(error));
    return this.reply;
  }

  receive(reply: Reply): void {
    this.#worker = reply.inbox ?? this.#worker;
    this.#onSignOfLife();
    if (reply.heartbeat) return;
    const empty = reply.result === null || reply.result === undefined;
    if (!empty || this.#last === undefined) this.#last = reply;
    // In the two-message form, the ending has no result of its own. A failure always ends the call.
    if (reply.ending) this.#resolve(reply.failure ? reply : this.#last);
  }

  fail(error: unknown): void {
    if (this.#settled) return;
    this.#end();
    if (error instanceof TimeoutError) this.#learn(undefined); // an old server may serve the queue now
    this.#reply.reject(error);
  }

  onUnroutable(error: unknown): void {
    if (!this.#resending?.retry()) this.fail(error);
  }

  /** Fails the call when its signal fires, and cancels it on the worker. */
  handleEvent(): void {
    const { limits, id } = this.#outgoing;
    const { pendingCalls } = this.#resources;
    this.fail(limits.deadline.signal?.reason);
    pendingCalls.cancel(id, this.#worker);
  }

  #resolve(reply: Reply): void {
    if (this.#settled) return;
    this.#end();
    this.#learn(reply.call);
    this.#reply.resolve(reply);
  }

  /** Notes that the request was sent. Until then the deadline is left to `send`, whose error says why the request waits. */
  #onSent(): void {
    if (this.#settled) return;
    this.#sent = true;
    this.#onSignOfLife();
    if (this.#outgoing.hints.idempotent) this.#resendAfterReconnect();
    if (this.#overdue) this.#expire();
  }

  #onSignOfLife(): void {
    const { monitor } = this.#outgoing.limits;
    if (monitor === undefined || this.#settled) return;
    if (this.#silence) clearDeadline(this.#silence);
    const fail = () => this.fail(silent(this.#outgoing, monitor));
    this.#silence = setDeadline(performance.now() + monitor, fail);
  }

  /** Sends the request again at each reconnection to the broker, since it may have been lost with the connection. */
  #resendAfterReconnect(): void {
    this.#resending = new Resending(
      this.#resources,
      this.#outgoing,
      () => this.#onSignOfLife(),
    );
  }

  #learn(call: string | undefined): void {
    const { queue } = this.#outgoing.destination;
    this.#resources.legacyReplyQueues.learn(queue, call);
  }

  #expire(): void {
    this.#overdue = true;
    if (this.#sent) void expire(this.#resources, this.#outgoing, this);
  }

  #end(): void {
    this.#settled = true;
    this.#resending?.[Symbol.dispose]();
    if (this.#silence) clearDeadline(this.#silence);
    clearDeadline(this.#expiry);
    const { limits, id } = this.#outgoing;
    limits.deadline.signal?.removeEventListener("abort", this);
    this.#resources.pendingCalls.remove(id);
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

/** Fails a call with a timeout error that has the state of its queue. */
async function expire(
  { inbox }: CallResources,
  { destination: { queue }, method, limits: { timeout } }: OutgoingRequest,
  call: UnaryCall,
): Promise<void> {
  const text = `No answer to ${method} from ${queue} within ${
    Math.round(timeout)
  } ms`;
  call.fail(await timeoutError(inbox, queue, text));
}

/** Creates a timeout error. It has the state of the queue, if the broker replies in time. */
export async function timeoutError(
  inbox: Inbox,
  queue: string,
  text: string,
): Promise<TimeoutError> {
  const state = await inbox.stateOf(queue, {
    at: performance.now() + QUEUE_STATE_TIMEOUT_MS,
  });
  if (!state) return new TimeoutError(text);
  const { consumers, messages: waiting } = state;
  const who = consumers === 0
    ? "nobody consumes its queue"
    : `its queue has ${consumers} consumers`;
  const behind = waiting > 0 ? `, and ${waiting} messages wait there` : "";
  const options = { consumers, data: { waiting } };
  return new TimeoutError(`${text}; ${who}${behind}`, options);
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

/** Result in one reply. */
export interface CallResult {
  /** Value; undefined if the reply has none. */
  readonly value: unknown;
  /** True if the worker has parsed the value by its schema. */
  readonly parsed: boolean;
}

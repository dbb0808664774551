/** Client side of one call whose worker replies with a stream. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import { TimeoutError } from "../../errors.ts";
import type { Credit } from "../control_targets.ts";
import { GapRecovery } from "../streams/gap_recovery.ts";
import {
  type StreamFailure,
  type StreamListener,
  StreamReceiver,
} from "../streams/stream_receiver.ts";
import type { OutgoingRequest } from "./request_encoder.ts";
import type { CallResources } from "./pending_calls.ts";
import { timeoutError } from "./unary_call.ts";

/** Gets a stream that was called for, and its end. */
export interface StreamCaller {
  /** The stream is open. */
  readonly opened: (stream: StreamCall) => void;
  /** Nothing more is received, also while nobody pulls; there may be unread items. */
  readonly ended: (failure: StreamFailure | undefined) => void;
}

/**
 * Open call for a stream. It fails when no item was received for `timeout` milliseconds while the worker had credit,
 * and when its signal fires, even if no `next()` is pending.
 */
export class StreamCall implements StreamListener {
  /** Receiver of the items. */
  readonly receiver: StreamReceiver = new StreamReceiver(this);
  readonly #resources: CallResources;
  readonly #outgoing: OutgoingRequest;
  readonly #caller: StreamCaller;
  readonly #recovery: GapRecovery;
  readonly #watching: Disposable;
  #expiry: Timer;
  /** Last time of progress, in milliseconds of the monotonic clock; -Infinity before the first reply. */
  #progressAt = -Infinity;
  #replyQueue: Disposable | undefined;
  #ended = false;
  #closed = false;

  /** Receives replies from now on. */
  constructor(
    resources: CallResources,
    outgoing: OutgoingRequest,
    caller: StreamCaller,
  ) {
    this.#resources = resources;
    this.#outgoing = outgoing;
    this.#caller = caller;
    const { pendingCalls, transport } = resources;
    const { id, limits: { deadline: { at, signal }, timeout } } = outgoing;
    pendingCalls.add(id, this.receiver);
    this.#expiry = setDeadline(at, () => this.#check());
    signal?.addEventListener("abort", this);
    this.#recovery = new GapRecovery(this.receiver, timeout, () => {
      const { worker, upcoming: sequence, run: runId, credit } = this.receiver;
      pendingCalls.resume(id, worker, { sequence, runId, ...credit });
    });
    this.#watching = transport.onEvent(({ type }) => {
      if (type === "connected") this.#recovery.onReconnect();
    });
  }

  /** Sends the request. */
  async send(): Promise<void> {
    const { legacyReplyQueues, encoder, session } = this.#resources;
    const { id, limits: { deadline }, destination } = this.#outgoing;
    const { address, queue } = destination;
    if (legacyReplyQueues.needs(queue)) {
      this.#replyQueue = await legacyReplyQueues.prepare(id, deadline);
      if (this.#ended) this.#replyQueue?.[Symbol.dispose]();
    }
    await session.send(address, encoder.encode(this.#outgoing), deadline);
  }

  /** Stops receiving items; sends the worker a cancellation if `cancel` is true. */
  close(cancel: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#release();
    if (cancel) this.#cancel();
  }

  onProgress(): void {
    this.#progressAt = performance.now();
  }

  onReply(): void {
    this.#recovery.onReply();
  }

  /** Sets the timer again if something was received meanwhile, which is cheaper than setting it for each item. */
  #check(): void {
    if (this.#ended) return;
    const { timeout } = this.#outgoing.limits;
    const now = performance.now();
    // While the receiver is full, the worker waits for credit.
    const from = this.receiver.full ? now : this.#progressAt;
    const until = from + timeout;
    if (until <= now) return this.#expire();
    this.#expiry = setDeadline(until, () => this.#check());
  }

  onRival(inbox: string | undefined): void {
    if (inbox !== this.receiver.worker) {
      this.#resources.pendingCalls.cancel(this.#outgoing.id, inbox);
    }
    this.#recovery.onRival();
  }

  onCredit(credit: Credit): void {
    const { worker } = this.receiver;
    this.#resources.pendingCalls.credit(this.#outgoing.id, worker, credit);
  }

  onEnd(failure: StreamFailure | undefined): void {
    this.#release();
    this.#caller.ended(failure);
  }

  #release(): void {
    this.#ended = true;
    clearDeadline(this.#expiry);
    const { id, limits: { deadline: { signal } } } = this.#outgoing;
    signal?.removeEventListener("abort", this);
    this.#watching[Symbol.dispose]();
    this.#recovery[Symbol.dispose]();
    this.#resources.pendingCalls.remove(id);
    this.#replyQueue?.[Symbol.dispose]();
  }

  /** Ends the stream when its signal fires. */
  handleEvent(): void {
    this.receiver.fail(this.#outgoing.limits.deadline.signal?.reason, true);
    this.#cancel();
  }

  #expire(): void {
    if (this.receiver.missing) return this.receiver.failLost();
    const { method, destination: { queue }, limits } = this.#outgoing;
    const within = `${Math.round(limits.timeout)} ms`;
    this.#cancel();
    if (this.receiver.worker === undefined) {
      const text = `No item of ${method} from ${queue} within ${within}`;
      return void this.#expireUnheard(text);
    }
    const text = `No further item of ${method} from ${queue} for ${within}`;
    this.receiver.fail(new TimeoutError(text));
  }

  /** Fails a stream whose worker has never replied. The error has the number of workers, which may be 0. */
  async #expireUnheard(text: string): Promise<void> {
    const { inbox } = this.#resources;
    const { queue } = this.#outgoing.destination;
    this.receiver.fail(await timeoutError(inbox, queue, text));
  }

  #cancel(): void {
    const { worker } = this.receiver;
    this.#resources.pendingCalls.cancel(this.#outgoing.id, worker);
  }
}

/** Sends a request for a stream; resolves as soon as it is sent. */
export async function openStreamCall(
  resources: CallResources,
  outgoing: OutgoingRequest,
  caller: StreamCaller,
): Promise<StreamCall> {
  await resources.inbox.ready(outgoing.limits.deadline);
  const call = new StreamCall(resources, outgoing, caller);
  try {
    await call.send();
  } catch (error) {
    call.close(false);
    throw error;
  }
  return call;
}

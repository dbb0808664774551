/** Request at a worker, from its delivery to its settlement. @module */
import type { Procedure } from "../../contract/types.ts";
import {
  ConnectionDisposedError,
  RpcError,
  TimeoutError,
} from "../../errors.ts";
import { newId } from "../../ids.ts";
import { logger } from "../../logging.ts";
import type { Delivery, Message } from "../../transport/transport.ts";
import type { Dialect, Request } from "../../wire/mod.ts";
import type {
  ControlTarget,
  ControlTargets,
  Credit,
} from "../control_targets.ts";
import { OutgoingStream } from "../streams/outgoing_stream.ts";
import { Cancellation } from "./cancellation.ts";
import { HandlerRun } from "./handler_run.ts";
import { Settlement } from "./settlement.ts";
import type { Waiter } from "./outside_prefetch.ts";
import { type RequestKey, requestKey } from "./request_key.ts";
import type { HandledMessage } from "../telemetry/handled_message.ts";

const rpc = logger("rpc");

/**
 * One request. Its settlement, its cancellation, the run of its handler and its outgoing stream are objects of their
 * own.
 */
export class IncomingRequest implements ControlTarget, Waiter {
  /** Message of the request, to be copied for another attempt. */
  readonly message: Message;
  /** True if the broker has delivered the message before, to this worker or another. */
  readonly redelivered: boolean;
  /** Number of earlier deliveries; undefined if the broker does not count them. */
  readonly deliveryCount: number | undefined;
  /** Topic to which the request was sent. */
  readonly topic: string;
  /** Dialect of the request, and of its replies. */
  readonly dialect: Dialect;
  /** Id of the request, the same in all retries; a new one if the sender sent none. */
  readonly requestId: string;
  /** Arrival, and the moment at which the caller's timeout ends, in milliseconds of the monotonic clock. */
  readonly arrived: number;
  readonly deadline: number;
  /** True if the steps of this request are logged. */
  readonly logsSteps: boolean = rpc.enabled("debug");
  /** Settlement of the delivery. */
  readonly settlement: Settlement;
  /** Cancellation by the caller, by the deadline, or by the end of the worker. */
  readonly cancellation: Cancellation;
  /** Run of the handler. */
  readonly run: HandlerRun = new HandlerRun();
  #request: Request;
  #key: RequestKey | undefined;
  #procedure: Procedure | undefined;
  #name: string;
  #stream: OutgoingStream | undefined;
  #replies: readonly Message[] = [];
  #onReplies: (() => void) | undefined;
  #handled: HandledMessage | undefined;
  /** Repetitions of this request that wait for its replies. */
  #sharing = 0;

  /** The caller's timeout counts from the arrival; the time in the queue is limited by the message's expiration. */
  constructor(
    delivery: Delivery,
    request: Request,
    dialect: Dialect,
    topic: string,
  ) {
    this.#request = request;
    this.topic = topic;
    this.#name = request.method;
    this.dialect = dialect;
    this.message = delivery.message;
    this.redelivered = delivery.redelivered;
    this.deliveryCount = delivery.deliveryCount;
    this.requestId = request.id ?? newId();
    this.arrived = performance.now();
    this.deadline = this.arrived + callerTimeout(delivery, request);
    this.settlement = new Settlement(delivery);
    this.cancellation = new Cancellation(this.settlement);
  }

  /** Decoded request; its reply address changes if its caller gets another reply queue. */
  get request(): Request {
    return this.#request;
  }

  /** Name of the procedure as `topic.method`; the method alone until the procedure is found. */
  get name(): string {
    return this.#name;
  }

  /** Key by which the request is recognised if it arrives again; undefined without an id. */
  get key(): RequestKey | undefined {
    return this.#key ??= requestKey(this.request, this.dialect);
  }

  /** Procedure of the request; undefined until it is found. */
  get procedure(): Procedure | undefined {
    return this.#procedure;
  }

  /** True for a request that its sender would have dropped by now. Callers enforce timeouts, except of deferred requests. */
  get expired(): boolean {
    const { expires, reply, deferred } = this.request;
    const limited = !reply || deferred !== undefined;
    return limited && Number(expires) <= Date.now();
  }

  /** Number of the attempt, beginning with 1. */
  get attempt(): number {
    return this.request.attempt ?? 1;
  }

  /** Outgoing stream; undefined before the first credit or item. */
  get stream(): OutgoingStream | undefined {
    return this.#stream;
  }

  /** True once items of a stream were sent. */
  get streaming(): boolean {
    return this.#stream?.started ?? false;
  }

  /** Replies that were sent, without the items of a stream; they are repeated if the request arrives again. */
  get replies(): readonly Message[] {
    return this.#replies;
  }

  /** Fires when no caller waits for the result any more, and at the handler's `maxDuration`. */
  get signal(): AbortSignal {
    return this.cancellation.signal;
  }

  /** Stores the procedure of the request, and its name. */
  resolve(procedure: Procedure, name: string): void {
    this.#procedure = procedure;
    this.#name = name;
  }

  /** Record of the handler's run for telemetry; undefined until it starts. */
  get handled(): HandledMessage | undefined {
    return this.#handled;
  }

  /** Starts the record of the handler's run. */
  record(handled: HandledMessage): void {
    this.#handled = handled;
  }

  /** Stores the replies of the request. */
  reply(replies: readonly Message[]): void {
    this.#replies = replies;
    this.#onReplies?.();
  }

  /** Calls `listener` when the replies are stored. There is one listener. */
  onReplies(listener: () => void): void {
    this.#onReplies = listener;
  }

  /** Notes, until disposed, that a repetition of this request waits for its replies. */
  share(): Disposable {
    this.#sharing++;
    return { [Symbol.dispose]: () => void this.#sharing-- };
  }

  /** Returns the outgoing stream of the request; creates it at the first call. */
  openStream(): OutgoingStream {
    return this.#stream ??= new OutgoingStream(this.request.credit);
  }

  /** Starts the timer of the deadline, and receives the caller's control commands until `unregister`. */
  register(targets: ControlTargets): void {
    const { cancelled } = this.cancellation;
    this.cancellation.setTimer(
      cancelled ? Infinity : this.deadline,
      () =>
        this.cancellation.cancel(
          new TimeoutError("The caller's deadline passed"),
        ),
    );
    const call = this.request.reply?.call;
    if (call !== undefined) targets.add(call, this);
  }

  /** Stops the timer of the deadline, and receives no more control commands. */
  unregister(targets: ControlTargets): void {
    this.cancellation.clearTimer();
    const call = this.request.reply?.call;
    if (call !== undefined) targets.remove(call, this);
  }

  /** Cancels the request, and acknowledges its delivery. */
  end(reason: string): void {
    this.cancellation.cancel(new RpcError("ABORTED", `Aborted: ${reason}`));
  }

  grant({ upTo }: Credit): void {
    this.openStream().grant(upTo);
  }

  get reader(): string | undefined {
    return this.request.reply?.queue;
  }

  moveReader(queue: string): void {
    const { reply } = this.#request;
    if (reply) this.#request = { ...this.#request, reply: { ...reply, queue } };
  }

  isRun(): boolean {
    return false;
  }

  /** True while no item was sent, so that the reader cannot miss any. After that, the replay buffer serves the request. */
  resume(): boolean {
    return this.#stream?.untouched ?? true;
  }

  /**
   * Ends the request if its reply queue is gone for good, unless the caller waits elsewhere: at a repetition here, or at
   * another worker that shares the ledger, if it asks again by itself.
   */
  onReturned(message: string | undefined): void {
    if (!this.cancellation.heartbeatReturned(message)) return;
    const asksAgain = this.settlement.lease && this.#procedure?.idempotent;
    if (this.#sharing === 0 && !asksAgain) this.end("the caller is gone");
  }

  exemptFromPrefetch(evict: () => void): Disposable {
    return this.settlement.exemptFromPrefetch(evict);
  }

  /** Aborts the handler, because another worker has taken over the request. */
  fence(): void {
    this.settlement.fence();
    this.cancellation.abort(
      new RpcError("ABORTED", "Another worker has taken the request over"),
    );
  }

  /** Aborts the handler, because the worker stops. The message stays in its queue, unless its stream has started. */
  abandon(): void {
    this.run.clearTimer();
    if (this.streaming) this.settlement.complete();
    else this.settlement.abandon();
    this.cancellation.abort(new ConnectionDisposedError("The service stops"));
  }
}

/**
 * Returns the milliseconds that the caller waits, from when it sent the request; `Infinity` if that is unknown.
 * oslo.messaging sends it only as the expiration of a call's message. The expiration of Warren's messages limits only
 * their time in the queue, since a stream may take longer.
 */
function callerTimeout(
  { message: { expiration } }: Delivery,
  { timeout, reply, warren }: Request,
): number {
  if (timeout !== undefined) return timeout;
  const hasCallTimeout = reply && reply.form !== "perCallQueue" && !warren;
  return hasCallTimeout && expiration !== undefined ? expiration : Infinity;
}

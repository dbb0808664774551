/** Request at a worker, from its delivery to its settlement. @module */
import type { Procedure } from "../../contract/types.ts";
import {
  ConnectionDisposedError,
  RpcError,
  TimeoutError,
} from "../../errors.ts";
import { newId } from "../../ids.ts";
import type { Delivery, Message } from "../../transport/transport.ts";
import type { Dialect, Request } from "../../wire/mod.ts";
import type { ControlTarget, ControlTargets } from "../control_targets.ts";
import { OutgoingStream } from "../streams/outgoing_stream.ts";
import { Cancellation } from "./cancellation.ts";
import { HandlerRun } from "./handler_run.ts";
import { Settlement } from "./settlement.ts";
import type { Waiter } from "./waiting_aside.ts";

/** One request. Its delivery, its cancellation, the handler's run and the outgoing stream are objects of their own. */
export class IncomingRequest implements ControlTarget, Waiter {
  /** Decoded request. */
  readonly request: Request;
  /** Message of the request, to be copied for another attempt. */
  readonly message: Message;
  /** True if the broker has delivered the message before, to this worker or another. */
  readonly redelivered: boolean;
  /** Earlier deliveries as the broker counts them; undefined where it does not. */
  readonly deliveryCount: number | undefined;
  /** Dialect of the request, and of its replies. */
  readonly dialect: Dialect;
  /** Id of the request, kept over retries; a new one where the sender gave none. */
  readonly requestId: string;
  /** Arrival, and the moment at which the caller gives up, in milliseconds of the monotonic clock. */
  readonly arrived: number;
  readonly deadline: number;
  /** Settlement of the delivery. */
  readonly settlement: Settlement;
  /** Cancellation by the caller, by the deadline, or by the end of the worker. */
  readonly cancellation: Cancellation;
  /** Run of the handler. */
  readonly run: HandlerRun = new HandlerRun();
  #procedure: Procedure | undefined;
  #name: string;
  #stream: OutgoingStream | undefined;
  #replies: readonly Message[] = [];

  /** The caller's timeout counts from the arrival; the time in the queue is limited by the message's expiration. */
  constructor(delivery: Delivery, request: Request, dialect: Dialect) {
    this.request = request;
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

  /** Name of the procedure as `topic.method`; the method alone until the procedure is found. */
  get name(): string {
    return this.#name;
  }

  /** Procedure of the request; undefined until it is found. */
  get procedure(): Procedure | undefined {
    return this.#procedure;
  }

  /** Number of the attempt, beginning with 1. */
  get attempt(): number {
    return this.request.attempt ?? 1;
  }

  /** Outgoing stream; undefined until there is one. */
  get stream(): OutgoingStream | undefined {
    return this.#stream;
  }

  /** True once items of a stream were sent. */
  get streaming(): boolean {
    return this.#stream?.started ?? false;
  }

  /** Replies that were sent, to be repeated if the request comes again; without the items of a stream. */
  get replies(): readonly Message[] {
    return this.#replies;
  }

  /** Fires when nobody waits for the result any more, and at the handler's `maxDuration`. */
  get signal(): AbortSignal {
    return this.cancellation.signal;
  }

  /** Notes the procedure that was found, and its name. */
  resolve(procedure: Procedure, name: string): void {
    this.#procedure = procedure;
    this.#name = name;
  }

  /** Notes the replies of the request. */
  reply(replies: readonly Message[]): void {
    this.#replies = replies;
  }

  /** Outgoing stream of the request, made if there is none yet. */
  openStream(): OutgoingStream {
    return this.#stream ??= new OutgoingStream(this.request.credit);
  }

  /** Cancels the request at its deadline, and on the caller's command, until `unregister`. */
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

  /** Takes no more commands of the caller; the deadline is lifted. */
  unregister(targets: ControlTargets): void {
    this.cancellation.clearTimer();
    const call = this.request.reply?.call;
    if (call !== undefined) targets.remove(call, this);
  }

  /** Cancels the request; its delivery is acknowledged. */
  end(reason: string): void {
    this.cancellation.cancel(new RpcError("ABORTED", `Aborted: ${reason}`));
  }

  grant(upTo: number): void {
    this.openStream().grant(upTo);
  }

  get reader(): string | undefined {
    return this.request.reply?.queue;
  }

  /** True while nothing was sent and nothing can be missed. Later the replay buffer answers the reader. */
  resume(): boolean {
    return this.#stream?.untouched ?? true;
  }

  returned(message: string | undefined): void {
    if (this.cancellation.heartbeatReturned(message)) {
      this.end("the caller is gone");
    }
  }

  exemptFromPrefetch(evict: () => void): Disposable {
    return this.settlement.waits(evict);
  }

  /** Aborts the handler because another worker has taken the request over. */
  fence(): void {
    this.settlement.fence();
    this.cancellation.abort(
      new RpcError("ABORTED", "Another worker has taken the request over"),
    );
  }

  /** Aborts the handler because the worker stops. The message stays in its queue, unless its stream has started. */
  abandon(): void {
    this.run.clearTimer();
    if (this.streaming) this.settlement.complete();
    else this.settlement.abandon();
    this.cancellation.abort(new ConnectionDisposedError("The service stops"));
  }
}

/**
 * Milliseconds that the caller waits from when it sent the request; `Infinity` if the request does not tell. oslo.messaging
 * tells it by the expiration of a call's message alone. The expiration of Warren's messages limits their time in the queue
 * only, since a stream may take longer.
 */
function callerTimeout(
  { message: { expiration } }: Delivery,
  { timeout, reply, warren }: Request,
): number {
  if (timeout !== undefined) return timeout;
  const told = reply && reply.form !== "perCallQueue" && !warren;
  return told && expiration !== undefined ? expiration : Infinity;
}

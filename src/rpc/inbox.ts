/**
 * Inbox: the reply queue of the process. It passes replies to pending calls, and control commands to running work.
 *
 * @module
 */
import {
  ConnectionFailedError,
  InvalidResultError,
  NoRouteError,
} from "../errors.ts";
import { logger } from "../logging.ts";
import { direct } from "../transport/address.ts";
import type {
  Deadline,
  Delivery,
  Message,
  QueueState,
  Transport,
  TransportEvent,
} from "../transport/transport.ts";
import {
  type Control,
  decode,
  decodeBatch,
  type DecodeError,
  isBatch,
  type Limits,
  type Reply,
} from "../wire/mod.ts";
import { KeyedSlotMap } from "../slot_map.ts";
import { CallQueues } from "./call_queues.ts";
import { ControlTargets } from "./control_targets.ts";

/** Receiver of the replies to one call. */
export interface PendingReply {
  /** Inbox of the worker that runs the call; undefined before the first reply. */
  readonly worker: string | undefined;
  /** Receives a reply, or one message of a reply in several messages; `bytes` is the size of its body. */
  receive(reply: Reply, bytes: number): void;
  /** Ends the call with an error. */
  fail(error: unknown): void;
  /** Notes that no queue took the request. */
  onUnroutable(error: unknown): void;
}

/** Called when a worker sends replies to a call that is not pending here, with the inbox of the worker. */
export type UnmatchedReplyListener = (call: string, worker: string) => void;

/** Called when a reader requests items of a stream that is not known here, with the number of the first item. */
export type UnknownStreamListener = (
  call: string,
  from: number,
  reader: string,
) => void;

/** Adds a listener, until disposed. */
function listen<T>(listeners: Set<T>, listener: T): Disposable {
  listeners.add(listener);
  return { [Symbol.dispose]: () => void listeners.delete(listener) };
}

/** Pending call, with the receiver of its replies. */
export interface PendingCall {
  /** Id of the call. */
  readonly call: string;
  /** Receiver of the replies. */
  readonly pending: PendingReply;
  /** Client that made the call. */
  readonly owner: object;
}

/** Event of a transport that has failed for good. */
type Failed = Pick<
  Extract<TransportEvent, { reason: string }>,
  "reason" | "error"
>;

const noReplyError = (cause: Error, inDoubt: boolean) =>
  new ConnectionFailedError(
    `No reply can arrive, since the connection has failed for good: ${cause.message}`,
    { cause, inDoubt },
  );

const LAZY = { lazy: true };

/** Consumes the inbox of a transport. */
export class Inbox {
  /** Pending calls by their ids. */
  readonly pending: KeyedSlotMap<string, PendingCall> = new KeyedSlotMap();
  /** Running work, which receives control commands. */
  readonly targets: ControlTargets = new ControlTargets();
  /** Numbers of replies without a pending call, and of messages that were rejected. */
  readonly unmatched = { late: 0, refused: 0 };
  /** Reply queues of single calls. */
  readonly callQueues: CallQueues;
  readonly #unmatchedListeners = new Set<UnmatchedReplyListener>();
  readonly #unknownListeners = new Set<UnknownStreamListener>();
  readonly #transport: Transport;
  readonly #limits: Limits;
  /** Checks of queues that are under way, by the names of the queues. */
  readonly #inspections = new Map<string, Promise<QueueState | undefined>>();
  #consuming = false;
  /** Error of the transport that has failed for good: no reply can be received any more. */
  #failure: Error | undefined;

  /** Consumes nothing until the first `ready`. */
  constructor(transport: Transport, limits: Limits) {
    this.#transport = transport;
    this.#limits = limits;
    this.callQueues = new CallQueues(
      transport,
      limits,
      (delivery) => this.#receive(delivery),
    );
    transport.onEvent((event) => event.type === "failed" && this.#fail(event));
  }

  /** Name of the queue. */
  get name(): string {
    return this.#transport.inbox;
  }

  /** True once the inbox is consumed. */
  get read(): boolean {
    return this.#consuming;
  }

  /**
   * Listens for replies to calls that are not pending, until disposed. The connection contexts of a process share its inbox:
   * one listener is called for each reply, whichever context it belongs to.
   */
  onUnmatchedReply(listener: UnmatchedReplyListener): Disposable {
    return listen(this.#unmatchedListeners, listener);
  }

  /** Listens for readers of streams that are not known here, until disposed; one listener is called for each of them. */
  onUnknownStream(listener: UnknownStreamListener): Disposable {
    return listen(this.#unknownListeners, listener);
  }

  /**
   * Adds a pending call, which gets its replies from now on.
   *
   * @throws {ConnectionFailedError} the transport has failed for good, so no reply can be received.
   */
  expect(call: PendingCall): void {
    if (this.#failure) throw noReplyError(this.#failure, false);
    this.pending.set(call.call, call);
  }

  /** Resolves when the inbox is consumed. */
  async ready(deadline: Deadline): Promise<void> {
    if (this.#consuming) return;
    await this.#transport.startInbox({
      limit: this.#limits.bytes,
      onDelivery: (delivery) => this.#receive(delivery),
      onReturned: (message) => this.#returned(message),
    }, deadline);
    this.#consuming = true;
  }

  /** Returns the state of a queue, for the message of a timeout. Calls that time out together share one check. */
  stateOf(queue: string, deadline: Deadline): Promise<QueueState | undefined> {
    const inspection = this.#inspections.get(queue) ??
      this.inspect(queue, deadline).catch(() => undefined).finally(() =>
        this.#inspections.delete(queue)
      );
    this.#inspections.set(queue, inspection);
    return inspection;
  }

  /** See `Transport.inspect`. */
  inspect(queue: string, deadline: Deadline): Promise<QueueState | undefined> {
    return this.#transport.inspect(direct(queue), deadline);
  }

  /** Fails all pending calls, because the transport has failed for good. */
  #fail({ reason, error = new ConnectionFailedError(reason) }: Failed): void {
    this.#failure ??= error;
    for (const { pending } of [...this.pending]) {
      pending.fail(noReplyError(error, true));
    }
  }

  #receive(delivery: Delivery): void {
    delivery.ack(LAZY); // no copy on disk is needed: only this process can use the message
    const { message, key } = delivery;
    const { body, oversized = body.length } = message;
    const whole = oversized === body.length; // the size limit applies to each reply of a batch
    if (!whole || !isBatch(message.headers)) return this.#take(message, key);
    const parts = decodeBatch(message);
    if (!parts) return this.#reject("a batch of answers that is none");
    for (const part of parts) this.#take(part, key);
  }

  #take(
    message: Message,
    key: string,
  ): void {
    const { body, headers, correlationId, replyTo } = message;
    const decoded = decode(body, headers, this.#limits, message);
    if ("error" in decoded) {
      return this.#rejectReply(decoded.error, correlationId, key);
    }
    const { message: content } = decoded;
    if (content.kind === "reply") {
      // A Folsom server names the call only by the name of its reply queue.
      const call = content.call ?? correlationId ?? key;
      return this.#reply(content, call, body.length);
    }
    if (content.kind !== "control") return this.#reject(`a ${content.kind}`);
    this.#control(content, replyTo);
  }

  /**
   * Fails the call of a reply that cannot be decoded. If the reply exceeds the size limit, the call id is searched in
   * the truncated body, where some peers write it.
   */
  #rejectReply(
    { reason, oversized }: DecodeError,
    correlationId: string | undefined,
    key: string,
  ): void {
    const ids = [correlationId, oversized?.call, oversized && key];
    const [waiter] = ids.map((id) => this.pending.get(id ?? ""))
      .filter((waiter) => waiter !== undefined);
    const advice = oversized
      ? "; answer with less, or raise the option maxMessageSize at both ends"
      : "";
    const data = oversized &&
      { bytes: oversized.bytes, limit: this.#limits.bytes };
    const text = `Refused the answer: ${reason}${advice}`;
    waiter?.pending.fail(new InvalidResultError(text, { data }));
    this.#reject(reason);
  }

  #control(
    { command, call, credit: upTo = 0, read, sequence = 1, runId }: Control,
    reader: string | undefined,
  ): void {
    if (command === "cancel") return this.targets.cancel(call);
    this.targets.grant(call, { upTo, read });
    if (command === "credit") return;
    if (this.targets.resume(call, reader, sequence, runId)) return;
    const [listener] = this.#unknownListeners;
    if (reader) listener?.(call, sequence, reader);
  }

  #reply(reply: Reply, call: string, bytes: number): void {
    const waiter = this.pending.get(call);
    if (waiter) return waiter.pending.receive(reply, bytes);
    this.unmatched.late++;
    logger("rpc").debug("A reply came that nobody waits for");
    const [listener] = this.#unmatchedListeners;
    const continues = reply.inbox !== undefined && !reply.ending;
    if (continues) listener?.(call, reply.inbox);
  }

  #reject(reason: string): void {
    this.unmatched.refused++;
    logger("rpc").warn("Refused a message in the inbox: {reason}", { reason });
  }

  /**
   * Handles a returned message: a request that no queue took fails its call; a heartbeat that no queue took shows that
   * its caller may have stopped.
   */
  #returned({ correlationId: call = "", messageId }: Message): void {
    const text =
      "No queue takes the request: nobody has served this topic or host yet";
    // A request has the id of its call as its message id. A heartbeat from a worker to a caller in this process does
    // not.
    const waiter = messageId === call ? this.pending.get(call) : undefined;
    waiter?.pending.onUnroutable(new NoRouteError(text));
    this.targets.onReturned(call, messageId);
  }
}

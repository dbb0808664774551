/** The private inbox of a link: replies for those who wait, controls for those who work. One for each link. @module */
import {
  ConnectionFailedError,
  InvalidResultError,
  NoRouteError,
  TimeoutError,
  TopologyError,
} from "../errors.ts";
import { logger } from "../logging.ts";
import { direct } from "../transport/address.ts";
import type {
  Deadline,
  Delivery,
  Message,
  QueueState,
  Session,
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
import { withDeadline } from "../async/deadline.ts";
import { ControlTargets } from "./control_targets.ts";

/** Someone who waits for the answers to one call. */
export interface PendingReply {
  /** Inbox of the worker that has the call, once it has shown itself. */
  readonly worker: string | undefined;
  /** Takes an answer, or a part of one. */
  receive(reply: Reply): void;
  /** Ends the wait with an error. */
  fail(error: unknown): void;
  /** The request found no queue. */
  unrouted(error: unknown): void;
}

/** Tells a worker that nobody waits for the replies to its call. */
export type UnmatchedReplyListener = (call: string, worker: string) => void;

/** Tells a reader that the stream of which it misses items, from a number on, is not known here. */
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

/** Who waits for the answers to a call. */
export interface Waiter {
  /** Id of the call. */
  readonly call: string;
  /** Takes the answers. */
  readonly pending: PendingReply;
  /** Whose call it is. */
  readonly owner: object;
}

/** Milliseconds in which what the broker has forbidden is not asked for again. */
const FORBIDDEN = 60_000;

/** Unread messages at most of the reply queue of one call. */
const CALL_QUEUE_PREFETCH = 1_000;

/** The user lacks a permission. */
const isForbidden = (error: unknown) =>
  error instanceof TopologyError && error.data.reason === "forbidden";

/** That a link is given up. */
type Failed = Pick<
  Extract<TransportEvent, { reason: string }>,
  "reason" | "error"
>;

const noAnswer = (cause: Error, inDoubt: boolean) =>
  new ConnectionFailedError(
    `No answer can come, since the link is given up: ${cause.message}`,
    { cause, inDoubt },
  );

const LAZY = { lazy: true };

/** Reads one inbox. */
export class Inbox {
  /** Calls that wait, by their id. */
  readonly pending: KeyedSlotMap<string, Waiter> = new KeyedSlotMap();
  /** What runs here. */
  readonly targets: ControlTargets = new ControlTargets();
  /** Replies that nobody waited for, and messages that were none. */
  readonly unmatched = { late: 0, refused: 0 };
  readonly #unmatchedListeners = new Set<UnmatchedReplyListener>();
  readonly #unknownListeners = new Set<UnknownStreamListener>();
  readonly #transport: Transport;
  readonly #limits: Limits;
  /** No queue for the answers of one call is declared before this time, in milliseconds of the monotonic clock. */
  #forbidden = -Infinity;
  /** Settles when it is known whether such queues may be made; undefined while nobody has asked. */
  #trial: Promise<void> | undefined;
  readonly #asked = new Map<string, Promise<number | undefined>>();
  /** Session that reads the reply queues of single calls. */
  #callQueues: Promise<Session> | undefined;
  #read = false;
  /** Why nothing comes any more. */
  #failure: Error | undefined;

  /** Reads the inbox of a link, from the first `ready`. */
  constructor(transport: Transport, limits: Limits) {
    this.#transport = transport;
    this.#limits = limits;
    transport.onEvent((event) => event.type === "failed" && this.#fail(event));
  }

  /** Name of the queue. */
  get name(): string {
    return this.#transport.inbox;
  }

  /** True once it is being read. */
  get read(): boolean {
    return this.#read;
  }

  /**
   * Listens for replies to calls that nobody waits for, until disposed. The connection contexts of a process share its
   * inbox: one listener is called for each reply, whichever context it belongs to.
   */
  onUnmatchedReply(listener: UnmatchedReplyListener): Disposable {
    return listen(this.#unmatchedListeners, listener);
  }

  /** Listens for readers of streams that are not known here, until disposed; one listener is called for each of them. */
  onUnknownStream(listener: UnknownStreamListener): Disposable {
    return listen(this.#unknownListeners, listener);
  }

  /**
   * Answers to a call go to its waiter from now on.
   *
   * @throws {ConnectionFailedError} nothing comes any more, since the link is given up.
   */
  expect(waiter: Waiter): void {
    if (this.#failure) throw noAnswer(this.#failure, false);
    this.pending.set(waiter.call, waiter);
  }

  /** Resolves when it is being read. */
  async ready(deadline: Deadline): Promise<void> {
    if (this.#read) return;
    await this.#transport.startInbox({
      limit: this.#limits.bytes,
      onDelivery: (delivery) => this.#receive(delivery),
      onReturned: (message) => this.#returned(message),
    }, deadline);
    this.#read = true;
  }

  /**
   * Answers to a call come here that are sent to a queue or an exchange of its name, until disposed. Resolves to undefined
   * where the user of this connection may not declare it: the broker is then not asked again for a minute.
   */
  async answersTo(
    call: string,
    deadline: Deadline,
  ): Promise<Disposable | undefined> {
    const late = () => new TimeoutError("no answer in time");
    if (this.#trial) {
      await withDeadline(this.#trial, deadline, late).catch(() => {});
    }
    if (performance.now() < this.#forbidden) return undefined;
    const asked = this.#readCallQueue(call, deadline);
    // Calls that come together wait for the first: each refusal costs a channel.
    this.#trial ??= asked.then(() => {}, () => void (this.#trial = undefined));
    try {
      return await asked;
    } catch (error) {
      if (!isForbidden(error)) throw error;
      this.#forbidden = performance.now() + FORBIDDEN;
      logger("rpc").warn(
        "Calls go on without a queue for answers of Folsom's servers, which this user may not declare: {error}",
        { error },
      );
      return undefined;
    }
  }

  /** Consumers of a queue, for the text of a timeout; asked once for all the calls that time out together. */
  consumers(queue: string, deadline: Deadline): Promise<number | undefined> {
    const asked = this.#asked.get(queue) ??
      this.#consumersOf(queue, deadline).finally(() =>
        this.#asked.delete(queue)
      );
    this.#asked.set(queue, asked);
    return asked;
  }

  /** See `Transport.inspect`. */
  inspect(queue: string, deadline: Deadline): Promise<QueueState | undefined> {
    return this.#transport.inspect(direct(queue), deadline);
  }

  async #consumersOf(
    queue: string,
    deadline: Deadline,
  ): Promise<number | undefined> {
    const state = await this.inspect(queue, deadline).catch(() => undefined);
    return state?.consumers;
  }

  async #readCallQueue(call: string, deadline: Deadline): Promise<Disposable> {
    const opening = this.#callQueues ??= this.#transport.openSession(deadline)
      .catch((error) => {
        this.#callQueues = undefined;
        throw error;
      });
    const session = await opening;
    const consumer = await session.consume(
      { kind: "callQueue", call },
      (delivery) => this.#receive(delivery),
      {
        prefetch: CALL_QUEUE_PREFETCH,
        limit: { bytes: this.#limits.bytes, allowWhole: false },
      },
      deadline,
    );
    return { [Symbol.dispose]: () => void consumer.cancel() };
  }

  /** The link is given up: whoever waits, waits in vain. */
  #fail({ reason, error = new ConnectionFailedError(reason) }: Failed): void {
    this.#failure ??= error;
    for (const { pending } of [...this.pending]) {
      pending.fail(noAnswer(error, true));
    }
  }

  #receive(delivery: Delivery): void {
    delivery.ack(LAZY); // what it tells is kept in memory alone, so it is of no use to another process
    const { message, key } = delivery;
    const { body, oversized = body.length } = message;
    const whole = oversized === body.length; // the limit holds for each answer of a batch alone
    if (!whole || !isBatch(message.headers)) return this.#take(message, key);
    const parts = decodeBatch(message);
    if (!parts) return this.#refuse("a batch of answers that is none");
    for (const part of parts) this.#take(part, key);
  }

  #take(
    message: Message,
    key: string,
  ): void {
    const { body, headers, correlationId, replyTo } = message;
    const decoded = decode(body, headers, this.#limits, message);
    if ("error" in decoded) {
      return this.#refused(decoded.error, correlationId, key);
    }
    const { message: said } = decoded;
    if (said.kind === "reply") {
      // Folsom says the call only by where it answers.
      const call = said.call ?? correlationId ?? key;
      return this.#reply(said, call);
    }
    if (said.kind !== "control") return this.#refuse(`a ${said.kind}`);
    this.#control(said, replyTo);
  }

  /** An answer that cannot be read ends its call at once. One above the limit is told by what is left of it, for peers that say the call there. */
  #refused(
    { reason, oversized }: DecodeError,
    correlationId: string | undefined,
    key: string,
  ): void {
    const ids = [correlationId, oversized?.call, oversized && key];
    const [waiter] = ids.map((id) => this.pending.get(id ?? ""))
      .filter((waiter) => waiter !== undefined);
    const more = oversized
      ? "; answer with less, or raise the option maxMessageSize at both ends"
      : "";
    const data = oversized &&
      { bytes: oversized.bytes, limit: this.#limits.bytes };
    const text = `Refused the answer: ${reason}${more}`;
    waiter?.pending.fail(new InvalidResultError(text, { data }));
    this.#refuse(reason);
  }

  #control(
    { command, call, credit = 0, sequence = 1, runId }: Control,
    reader: string | undefined,
  ): void {
    if (command === "cancel") return this.targets.cancel(call);
    this.targets.grant(call, credit);
    if (command === "credit") return;
    if (this.targets.resume(call, reader, sequence, runId)) return;
    const [listener] = this.#unknownListeners;
    if (reader) listener?.(call, sequence, reader);
  }

  #reply(reply: Reply, call: string): void {
    const waiter = this.pending.get(call);
    if (waiter) return waiter.pending.receive(reply);
    this.unmatched.late++;
    logger("rpc").debug("A reply came that nobody waits for");
    const [listener] = this.#unmatchedListeners;
    const goesOn = reply.inbox !== undefined && !reply.ending;
    if (goesOn) listener?.(call, reply.inbox);
  }

  #refuse(reason: string): void {
    this.unmatched.refused++;
    logger("rpc").warn("Refused a message in the inbox: {reason}", { reason });
  }

  /** A request that found no queue fails its call; a worker's sign of life that found none says that its caller may be gone. */
  #returned({ correlationId: call = "", messageId }: Message): void {
    const text =
      "No queue takes the request: nobody has served this topic or host yet";
    // Only a request is named as its call is; what a worker in this process says to a caller in it is not.
    const waiter = messageId === call ? this.pending.get(call) : undefined;
    waiter?.pending.unrouted(new NoRouteError(text));
    this.targets.returned(call, messageId);
  }
}

/** The caller's half: from a verb to the wire, and from the answer to the awaiting promise. @module */
import {
  ConnectionDisposedError,
  InvalidValueError,
  NoRouteError,
} from "../../errors.ts";
import {
  type Address,
  queueFor,
  topicAddress,
} from "../../transport/address.ts";
import {
  type ErrorClasses,
  fromFailure,
  grizzly,
  type Reply,
} from "../../wire/mod.ts";
import {
  type CallLimits,
  type CallOptions,
  type CastOptions,
  checkTarget,
  limitsOfCall,
  limitsOfCast,
  parentOf,
  type SendOptions,
  type Target,
} from "./call_options.ts";
import { delay } from "../../async/deadline.ts";
import type { Deadline, Message } from "../../transport/transport.ts";
import { type AskParts, unaryCall } from "./unary_call.ts";
import { newId } from "../../ids.ts";
import { type GatherListener, scatterGather } from "./scatter_gather.ts";
import { StreamIterator } from "./stream_iterator.ts";
import { openStreamCall, type StreamCall } from "./stream_call.ts";
import { checkDuration } from "../../option_checks.ts";
import { LegacyReplyQueues } from "./legacy_reply_queues.ts";
import {
  type CallerParts,
  encodeCast,
  finiteMs,
  type OutgoingRequest,
} from "./request_encoder.ts";
import { PendingCalls } from "./pending_calls.ts";

/** Keyword arguments. */
type Args = Readonly<Record<string, unknown>>;

/** Where a target is. */
interface ResolvedTarget {
  readonly address: Address;
  /** Name of its queue. */
  readonly queue: string;
}

/** Milliseconds between two tries while a queue does not exist yet. */
const ROUTE_POLL_MS = 100;

/** Sends requests and awaits their answers. */
export class RpcClient {
  readonly #parts: CallerParts;
  readonly #pendingCalls: PendingCalls;
  readonly #asking: AskParts;
  /** Where targets are that were checked: a client of a contract has one for each procedure. */
  readonly #places = new WeakMap<Target, ResolvedTarget>();
  #disposed = false;

  /** On a transport. */
  constructor(parts: CallerParts) {
    this.#parts = parts;
    const { session, inbox, legacyPeers } = parts;
    const pendingCalls = this.#pendingCalls = new PendingCalls(session, inbox);
    const legacyReplyQueues = new LegacyReplyQueues(inbox, legacyPeers);
    this.#asking = { ...parts, pendingCalls, legacyReplyQueues };
  }

  /** One answer. */
  async call(
    target: Target,
    method: string,
    args: Args,
    options: CallOptions,
    errors?: ErrorClasses,
  ): Promise<CallResult> {
    const resolved = this.#place(target);
    const callLimits = limitsOfCall(options, parentOf(options));
    if (
      callLimits.monitor !== undefined &&
      this.#parts.dialect.replyForm === "perCallQueue"
    ) {
      throw new InvalidValueError(
        "Invalid option monitor: no server of Folsom gives signs of life; use another dialect",
        { data: { path: "monitor" } },
      );
    }
    const { inbox } = this.#parts;
    if (!inbox.read) await inbox.ready(callLimits.deadline);
    const reply = await this.#routed(target, callLimits.deadline, () => {
      const asked = { id: newId(), target, method, args };
      return unaryCall(this.#asking, asked, resolved, callLimits);
    });
    return this.#returned(reply, errors);
  }

  /** No answer; resolves when the broker has it. */
  async cast(
    target: Target,
    method: string,
    args: Args,
    options: CastOptions,
  ): Promise<void> {
    const { address } = this.#place(target);
    const callLimits = limitsOfCast(options);
    const stated = encodeCast(
      this.#parts,
      { id: newId(), target, method, args },
      callLimits,
    );
    const expiration = options.ttl === undefined
      ? undefined
      : finiteMs(checkDuration("ttl", options.ttl));
    const message: Message = {
      ...stated,
      persistent: true,
      mandatory: true,
      expiration,
    };
    await this.#routed(
      target,
      callLimits.deadline,
      () => this.#parts.session.publish(address, message, callLimits.deadline),
    );
  }

  /** No answer, to every worker; nobody is fine too. */
  async fanoutCast(
    target: Target,
    method: string,
    args: Args,
    options: SendOptions,
  ): Promise<void> {
    this.#place(target);
    const callLimits = limitsOfCast(options);
    const message = encodeCast(this.#parts, {
      id: newId(),
      target: { ...target, host: undefined },
      method,
      args,
    }, callLimits);
    await this.#parts.session.publish(
      { kind: "fanout", topic: target.topic },
      message,
      callLimits.deadline,
    );
  }

  /** Asks all who serve a topic; resolves when the time is over. */
  async gather(
    target: Target,
    method: string,
    args: Args,
    options: SendOptions,
    receive: GatherListener,
  ): Promise<void> {
    this.#place(target);
    const callLimits = limitsOfCall(options, parentOf(options));
    const asked = { id: newId(), target, method, args };
    const parts = { ...this.#parts, dialect: grizzly }; // only Warren is asked so
    await scatterGather(parts, this.#pendingCalls, asked, callLimits, receive);
  }

  /** Answers one by one. Lazy: nothing is sent before the first `next()`. Ending it cancels the worker. */
  multicall<T>(
    target: Target,
    method: string,
    args: Args,
    options: CallOptions,
    shape: StreamDecoder<T>,
  ): AsyncGenerator<T, void, undefined> {
    const parent = parentOf(options); // whoever pulls may serve another request
    return new StreamIterator({
      begin: async (opened) => {
        const resolved = this.#place(target);
        const callLimits = limitsOfCall(options, parent);
        await shape.prepare?.();
        return await this.#routed(target, callLimits.deadline, () => {
          const asked = { id: newId(), target, method, args };
          return this.#first(asked, resolved, callLimits, opened);
        });
      },
      item: (reply) => shape.item(this.#returned(reply, shape.errors)),
    });
  }

  /** All that waits fails, workers are told, and nothing more is sent. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    const text = "The connection was disposed while the call was under way";
    await this.#pendingCalls.close(() =>
      new ConnectionDisposedError(text, { inDoubt: true })
    );
  }

  async #first(
    outgoing: OutgoingRequest,
    { address, queue }: ResolvedTarget,
    callLimits: CallLimits,
    opened: (stream: StreamCall) => void,
  ): Promise<Reply> {
    const stream = await openStreamCall(
      this.#asking,
      outgoing,
      address,
      callLimits,
    );
    opened(stream);
    try {
      const reply = await stream.receiver.next();
      this.#asking.legacyReplyQueues.learn(queue, reply.call);
      return reply;
    } catch (error) {
      if (error instanceof NoRouteError) stream.close(false); // there may be another try
      throw error;
    }
  }

  /** Checks a target, and that the connection may be used. */
  #place(target: Target): ResolvedTarget {
    const resolved = this.#places.get(target) ?? this.#found(target);
    if (!this.#disposed) return resolved;
    throw new ConnectionDisposedError(
      "Cannot use the connection: it was disposed",
    );
  }

  #found(target: Target): ResolvedTarget {
    checkTarget(target);
    const { topic, host } = target;
    const address = topicAddress(topic, host);
    const place = { address, queue: queueFor(topic, host) };
    if (Object.isFrozen(target)) this.#places.set(target, place);
    return place;
  }

  #returned(reply: Reply, errors: ErrorClasses | undefined): CallResult {
    if (reply.failure) {
      throw fromFailure(reply.failure, { ...this.#parts.errors, ...errors });
    }
    return { value: reply.result, parsed: reply.parsed === true };
  }

  /** Says whom nobody serves; tries again while there is no queue, if the connection waits for routes. */
  async #routed<T>(
    target: Target,
    deadline: Deadline,
    send: () => Promise<T>,
  ): Promise<T> {
    const began = performance.now();
    const { waitForRoute } = this.#parts;
    for (;;) {
      try {
        return await send();
      } catch (error) {
        if (!(error instanceof NoRouteError)) throw error;
        const now = performance.now();
        const patient = waitForRoute && !this.#disposed &&
          now + ROUTE_POLL_MS < deadline.at;
        const waited = waitForRoute ? now - began : undefined;
        if (!patient) throw noRouteError(target, error, waited);
      }
      await delay(ROUTE_POLL_MS, deadline);
    }
  }
}

/** One value that came back. */
export interface CallResult {
  /** The value; undefined where there is none. */
  readonly value: unknown;
  /** True if the worker's schema has parsed it. */
  readonly parsed: boolean;
}

/** What becomes of the items of a stream. */
export interface StreamDecoder<T> {
  /** Error classes of the contract. */
  readonly errors?: ErrorClasses | undefined;
  /** Done before the request is sent. */
  prepare?(): Promise<unknown>;
  /** The item for a value that came. */
  item(returned: CallResult): T | Promise<T>;
}

/** The items of an untyped stream, as they came. */
export const untypedStream: StreamDecoder<unknown> = {
  item: ({ value }) => value,
};

/** Says whom nobody serves. */
export function noRouteError(
  { topic, host }: Target,
  cause: NoRouteError,
  waited: number | undefined,
): NoRouteError {
  const whom = host === undefined ? topic : `${topic} on host ${host}`;
  const queue = queueFor(topic, host);
  const remedy = waited === undefined
    ? "start a worker, or connect with waitForRoute"
    : `none came within ${Math.round(waited)} ms; start a worker`;
  const text =
    `Nobody serves ${whom}: no queue is bound for it (${queue}, which its worker makes); ${remedy}`;
  return new NoRouteError(text, { cause, data: { topic, host } });
}

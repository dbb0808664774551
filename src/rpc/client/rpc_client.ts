/** The client's half: from a verb to the wire, and from the reply to the awaiting promise. @module */
import {
  ConnectionDisposedError,
  InvalidValueError,
  NoRouteError,
} from "../../errors.ts";
import { queueFor, topicAddress } from "../../transport/address.ts";
import { type ErrorClasses, fromFailure } from "../../wire/mod.ts";
import {
  type CallOptions,
  type CastOptions,
  checkTarget,
  type ClientRequest,
  hintsOf,
  limitsOfCall,
  limitsOfCast,
  noRouteError,
  parentOf,
  type Target,
} from "./call_options.ts";
import { delay } from "../../async/deadline.ts";
import { grizzly } from "../../wire/mod.ts";
import type { Reply } from "../../wire/mod.ts";
import type { MessageSettings, MessagingResources } from "../messaging.ts";
import { runInSpan, type Span, startSpan } from "../../tracing.ts";
import { type CallResources, unaryCall } from "./unary_call.ts";
import { newId } from "../../ids.ts";
import { type GatherListener, scatterGather } from "./scatter_gather.ts";
import { StreamIterator } from "./stream_iterator.ts";
import { openStreamCall, type StreamCaller } from "./stream_call.ts";
import { LegacyReplyQueues } from "./legacy_reply_queues.ts";
import {
  type Destination,
  isCast,
  type OutgoingRequest,
  RequestEncoder,
  type RequestKind,
  requestSpan,
} from "./request_encoder.ts";
import { PendingCalls } from "./pending_calls.ts";

/** Milliseconds between two attempts while a queue does not exist yet. */
const ROUTE_POLL_MS = 100;

/** Sends requests and awaits their replies. */
export class RpcClient {
  readonly #resources: CallResources;
  readonly #settings: MessageSettings;
  /** Destinations of targets that were checked: a client of a contract has one target for each procedure. */
  readonly #destinations = new WeakMap<Target, Destination>();
  readonly #unaryCall = (outgoing: OutgoingRequest): Promise<Reply> =>
    unaryCall(this.#resources, outgoing);
  readonly #disposal = new AbortController();

  /** Sends on the session, and receives replies from the inbox. */
  constructor(resources: MessagingResources, settings: MessageSettings) {
    const { session, inbox, transport } = resources;
    this.#settings = settings;
    this.#resources = {
      ...{ session, inbox, transport },
      encoder: new RequestEncoder(inbox, settings),
      pendingCalls: new PendingCalls(session, inbox),
      legacyReplyQueues: new LegacyReplyQueues(inbox, settings.legacyPeers),
    };
  }

  /** One reply. */
  async call(
    request: ClientRequest<CallOptions>,
    errors?: ErrorClasses,
  ): Promise<CallResult> {
    return await this.#request("call", request, async (outgoing) => {
      const reply = await this.#routed(outgoing, this.#unaryCall);
      return this.#result(reply, errors);
    });
  }

  /** No reply; resolves when the broker has the request. */
  async cast(request: ClientRequest<CastOptions>): Promise<void> {
    const { encoder, session } = this.#resources;
    await this.#request("cast", request, (outgoing) => {
      const message = encoder.encode(outgoing);
      const { limits: { deadline }, destination: { address } } = outgoing;
      const send = () => session.publish(address, message, deadline);
      return this.#routed(outgoing, send);
    });
  }

  /** No reply, to every worker of the topic; none is fine too. */
  async fanoutCast(request: ClientRequest): Promise<void> {
    const { encoder, session } = this.#resources;
    await this.#request("fanout", request, (outgoing) => {
      const { limits: { deadline }, destination: { address } } = outgoing;
      return session.publish(address, encoder.encode(outgoing), deadline);
    });
  }

  /** Replies of all workers of a topic; resolves when the time is over. */
  async gather(request: ClientRequest, receive: GatherListener): Promise<void> {
    const { inbox } = this.#resources;
    const { limits } = this.#settings;
    const encoder = new RequestEncoder(inbox, { dialect: grizzly, limits }); // only Warren is called so
    const resources = { ...this.#resources, encoder };
    await this.#request(
      "gather",
      request,
      (outgoing) => scatterGather(resources, outgoing, receive),
    );
  }

  /** Replies one by one. Lazy: nothing is sent before the first `next()`. Ending the stream cancels the worker. */
  multicall<T>(
    request: ClientRequest<CallOptions>,
    decoder: StreamDecoder<T>,
  ): AsyncGenerator<T, void, undefined> {
    const parent = "parent" in request
      ? request.parent
      : parentOf(request.options); // whoever pulls may serve another request
    let span: Span | undefined;
    return new StreamIterator({
      begin: (caller) =>
        this.#request("multicall", { ...request, parent }, async (outgoing) => {
          await decoder.prepare?.();
          return await this.#routed(
            outgoing,
            (outgoing) => this.#openStream(outgoing, caller),
          );
        }, (started) => span = started),
      item: (reply) => decoder.item(this.#result(reply, decoder.errors)),
      end: (failure) => {
        if (failure) span?.fail(failure.cause);
        span?.end();
      },
    });
  }

  /** Fires when the connection is disposed. */
  get disposal(): AbortSignal {
    return this.#disposal.signal;
  }

  /** @throws {ConnectionDisposedError} the connection must not be used any more. */
  checkUsable(): void {
    if (!this.#disposal.signal.aborted) return;
    throw new ConnectionDisposedError(
      "Cannot use the connection: it was disposed",
    );
  }

  /** Fails all calls that wait, tells their workers, and sends nothing more. */
  async dispose(): Promise<void> {
    const text = "The connection was disposed while the call was under way";
    const error = () => new ConnectionDisposedError(text, { inDoubt: true });
    this.#disposal.abort(error());
    await this.#resources.pendingCalls.close(error);
  }

  /**
   * Every verb passes here: checks the request, and sends it in a span. The span ends with the sending, unless `keep` takes
   * it over.
   */
  #request<T>(
    kind: RequestKind,
    request: ClientRequest<CallOptions & CastOptions>,
    send: (outgoing: OutgoingRequest) => Promise<T>,
    keep?: (span: Span) => void,
  ): Promise<T> {
    const outgoing = this.#outgoing(kind, request);
    const span = startSpan(requestSpan, outgoing);
    if (!span) return send(outgoing);
    const headers = { ...outgoing.hints.headers };
    span.inject(headers);
    const traced = { ...outgoing, hints: { ...outgoing.hints, headers } };
    keep?.(span);
    const work = () => send(traced);
    return keep ? span.run(work) : runInSpan(span, work);
  }

  /**
   * Checks a request.
   *
   * @throws {ConnectionDisposedError} the connection must not be used any more.
   * @throws {InvalidValueError} the target or an option is wrong.
   */
  #outgoing(
    kind: RequestKind,
    request: ClientRequest<CallOptions & CastOptions>,
  ): OutgoingRequest {
    const { method, args, options, headers } = request;
    const parent = "parent" in request ? request.parent : parentOf(options);
    const target = kind === "fanout"
      ? { ...request.target, host: undefined }
      : request.target;
    const destination = this.#destination(request.target, kind);
    const limits = isCast(kind)
      ? limitsOfCast(options)
      : limitsOfCall(options, parent);
    const { replyForm } = this.#settings.dialect;
    const monitored = kind === "call" && limits.monitor !== undefined;
    if (monitored && replyForm === "perCallQueue") {
      throw new InvalidValueError(
        "Invalid option monitor: no server of Folsom gives signs of life; use another dialect",
        { data: { path: "monitor" } },
      );
    }
    const hints = hintsOf(options, parent, headers);
    const id = newId();
    return { id, kind, target, destination, method, args, limits, hints };
  }

  async #openStream(
    outgoing: OutgoingRequest,
    caller: StreamCaller,
  ): Promise<Reply> {
    const stream = await openStreamCall(this.#resources, outgoing, caller);
    caller.opened(stream);
    try {
      const reply = await stream.receiver.next();
      const { queue } = outgoing.destination;
      this.#resources.legacyReplyQueues.learn(queue, reply.call);
      return reply;
    } catch (error) {
      if (error instanceof NoRouteError) stream.close(false); // there may be another attempt
      throw error;
    }
  }

  /** Destination of a target, and the check that the connection may be used. */
  #destination(target: Target, kind: RequestKind): Destination {
    const known = this.#destinations.get(target) ?? this.#resolve(target);
    this.checkUsable();
    if (kind !== "fanout" && kind !== "gather") return known;
    const { topic } = target;
    return { address: { kind: "fanout", topic }, queue: known.queue };
  }

  #resolve(target: Target): Destination {
    checkTarget(target);
    const { topic, host } = target;
    const address = topicAddress(topic, host);
    const destination = { address, queue: queueFor(topic, host) };
    if (Object.isFrozen(target)) this.#destinations.set(target, destination);
    return destination;
  }

  #result(reply: Reply, errors: ErrorClasses | undefined): CallResult {
    if (reply.failure) {
      throw fromFailure(reply.failure, { ...this.#settings.errors, ...errors });
    }
    return { value: reply.result, parsed: reply.parsed === true };
  }

  /** Names the target that nobody serves; sends again, as a new request, while there is no queue, if the connection waits for routes. */
  async #routed<T>(
    outgoing: OutgoingRequest,
    send: (outgoing: OutgoingRequest) => Promise<T>,
  ): Promise<T> {
    const startedAt = performance.now();
    const { target, limits: { deadline } } = outgoing;
    const { waitForRoute } = this.#settings;
    let attempt = outgoing;
    for (;;) {
      try {
        return await send(attempt);
      } catch (error) {
        if (!(error instanceof NoRouteError)) throw error;
        const now = performance.now();
        const again = waitForRoute && !this.#disposal.signal.aborted &&
          now + ROUTE_POLL_MS < deadline.at;
        const waited = waitForRoute ? now - startedAt : undefined;
        if (!again) throw noRouteError(target, error, waited);
      }
      await delay(ROUTE_POLL_MS, deadline);
      attempt = { ...outgoing, id: newId() };
    }
  }
}

/** One value that was received. */
export interface CallResult {
  /** The value; undefined where there is none. */
  readonly value: unknown;
  /** True if the worker's schema has parsed it. */
  readonly parsed: boolean;
}

/** Turns the replies of a stream into its items. */
export interface StreamDecoder<T> {
  /** Error classes of the contract. */
  readonly errors?: ErrorClasses | undefined;
  /** Done before the request is sent. */
  prepare?(): Promise<unknown>;
  /** The item of a result. */
  item(result: CallResult): T | Promise<T>;
}

/** The items of an untyped stream, as they came. */
export const untypedStream: StreamDecoder<unknown> = {
  item: ({ value }) => value,
};

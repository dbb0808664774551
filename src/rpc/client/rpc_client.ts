/** Client side of RPC: sends requests, and settles the promises of their callers. @module */
import {
  ConnectionDisposedError,
  InvalidValueError,
  NoRouteError,
} from "../../errors.ts";
import { queueFor, topicAddress } from "../../transport/address.ts";
import {
  type ErrorClasses,
  fromFailure,
  grizzly,
  type Reply,
} from "../../wire/mod.ts";
import {
  hintsOf,
  limitsOfCall,
  limitsOfCast,
  parentOf,
} from "./call_limits.ts";
import {
  type CallOptions,
  type CastOptions,
  checkTarget,
  type ClientRequest,
  type FanoutCastOptions,
  type Target,
} from "./call_options.ts";
import type { MessageSettings, MessagingResources } from "../messaging.ts";
import { currentPlace, type TracePlace } from "../../telemetry/tracing.ts";
import { SentMessage } from "../telemetry/sent_message.ts";
import { type CallResult, unaryCall } from "./unary_call.ts";
import { newId } from "../../ids.ts";
import { type GatherListener, scatterGather } from "./scatter_gather.ts";
import { type StreamDecoder, StreamIterator } from "./stream_iterator.ts";
import { openStreamCall, type StreamCaller } from "./stream_call.ts";
import { LegacyReplyQueues } from "../call_queues.ts";
import {
  type Destination,
  isCast,
  isUnconfirmed,
  type OutgoingRequest,
  RequestEncoder,
  type RequestKind,
  tracedRequest,
} from "./request_encoder.ts";
import { type CallResources, PendingCalls } from "./pending_calls.ts";
import { QueueWait } from "../queue_wait.ts";

/** Sends requests and awaits their replies. */
export class RpcClient {
  readonly #resources: CallResources;
  readonly #settings: MessageSettings;
  /** Destinations by their checked targets; a typed client has one target for each procedure. */
  readonly #destinations = new WeakMap<Target, Destination>();
  readonly #sendCallOnce = (outgoing: OutgoingRequest): Promise<Reply> =>
    unaryCall(this.#resources, outgoing);
  readonly #sendCast = (outgoing: OutgoingRequest): Promise<void> =>
    this.#queueWait.send(outgoing, this.#sendCastOnce);
  readonly #sendCastOnce = (outgoing: OutgoingRequest): Promise<void> => {
    const { encoder, session } = this.#resources;
    const { limits: { deadline }, destination: { address } } = outgoing;
    const message = encoder.encode(outgoing);
    return isUnconfirmed(outgoing)
      ? session.send(address, message, deadline)
      : session.publish(address, message, deadline);
  };
  readonly #disposal = new AbortController();
  readonly #queueWait: QueueWait;

  /** Requests are sent on the session in `resources`, replies are received by its inbox. */
  constructor(resources: MessagingResources, settings: MessageSettings) {
    const { session, inbox, transport } = resources;
    this.#settings = settings;
    this.#queueWait = new QueueWait({
      waitForRoute: settings.waitForRoute,
      disposal: this.#disposal.signal,
    });
    this.#resources = {
      ...{ session, inbox, transport },
      encoder: new RequestEncoder(inbox, settings),
      pendingCalls: new PendingCalls(session, inbox),
      legacyReplyQueues: new LegacyReplyQueues(
        inbox.callQueues,
        settings.legacyPeers,
      ),
    };
  }

  /** Sends a request, and returns the result of its reply. */
  async call(
    request: ClientRequest<CallOptions>,
    errors?: ErrorClasses,
  ): Promise<CallResult> {
    return await this.#request(
      "call",
      request,
      (outgoing) =>
        this.#queueWait.send(outgoing, this.#sendCallOnce)
          .then((reply) => this.#result(reply, errors)),
    );
  }

  /** Sends a request without a reply; resolves when the broker has confirmed it, or without a confirm when it is written. */
  async cast(request: ClientRequest<CastOptions>): Promise<void> {
    await this.#request("cast", request, this.#sendCast);
  }

  /** Sends a request without a reply to every worker of the topic; no worker is no error. */
  async fanoutCast(request: ClientRequest<FanoutCastOptions>): Promise<void> {
    await this.#request("fanout", request, this.#sendCastOnce);
  }

  /** Passes the reply of each worker of a topic to `receive`. Resolves at the deadline, or at once if no worker runs. */
  async gather(request: ClientRequest, receive: GatherListener): Promise<void> {
    const { inbox } = this.#resources;
    const { limits } = this.#settings;
    const encoder = new RequestEncoder(inbox, { dialect: grizzly, limits }); // only Warren's workers support `gather`
    const resources = { ...this.#resources, encoder };
    await this.#request(
      "gather",
      request,
      (outgoing) => scatterGather(resources, outgoing, receive),
    );
  }

  /** Returns the replies of a stream. Sends nothing before the first `next()`; `return()` cancels the worker. */
  multicall<T>(
    request: ClientRequest<CallOptions>,
    decoder: StreamDecoder<T>,
  ): AsyncGenerator<T, void, undefined> {
    const parent = "parent" in request
      ? request.parent
      : parentOf(request.options); // captured now: `next()` may be called while another request is served
    const place = currentPlace();
    let sent: SentMessage | undefined;
    return new StreamIterator({
      begin: (caller) =>
        this.#request("multicall", { ...request, parent }, async (outgoing) => {
          await decoder.prepare?.();
          return await this.#queueWait.send(
            outgoing,
            (outgoing) => this.#openStream(outgoing, caller),
          );
        }, { place, keep: (started) => sent = started }),
      item: (reply) => decoder.item(this.#result(reply, decoder.errors)),
      end: (failure) => {
        if (failure) sent?.fail(failure.cause);
        sent?.end();
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
   * Checks and sends the request of any verb, and records it. The record ends when `send` settles; if `keep` is given, it
   * receives the record and has to end it. `place` is the one in the code to which the request belongs.
   */
  #request<T>(
    kind: RequestKind,
    request: ClientRequest<CallOptions & CastOptions>,
    send: (outgoing: OutgoingRequest) => Promise<T>,
    { keep, place }: {
      readonly keep?: (sent: SentMessage) => void;
      readonly place?: TracePlace;
    } = {},
  ): Promise<T> {
    const outgoing = this.#outgoing(kind, request);
    const traced = tracedRequest(outgoing, this.#resources.session);
    if (!traced) return send(outgoing);
    const sent = new SentMessage(place ? { ...traced, place } : traced);
    const { hints } = outgoing;
    const headers = sent.inject(hints.headers);
    const injected = headers === hints.headers
      ? outgoing
      : { ...outgoing, hints: { ...hints, headers } };
    keep?.(sent);
    const work = () => send(injected);
    return keep ? sent.run(work) : sent.complete(work);
  }

  /**
   * Checks a request and resolves its target.
   *
   * @throws {ConnectionDisposedError} the connection was disposed.
   * @throws {InvalidValueError} the target or an option is invalid.
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
      if (error instanceof NoRouteError) stream.close(false); // the request may be sent once more
      throw error;
    }
  }

  /** Returns the destination of a target, after a check that the connection is not disposed. */
  #destination(target: Target, kind: RequestKind): Destination {
    const known = this.#destinations.get(target) ?? this.#resolve(target);
    this.checkUsable();
    if (kind !== "fanout" && kind !== "gather") return known;
    return { ...known, address: { kind: "fanout", topic: target.topic } };
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
}

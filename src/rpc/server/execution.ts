/** Execution of one request: what the dispatcher and the handler report while the handler runs. @module */
import { type Address, queueName } from "../../transport/address.ts";
import type { Permit } from "../../async/semaphore.ts";
import { nextDelay } from "../../contract/retry_policy.ts";
import type { Procedure } from "../../contract/types.ts";
import type { Deadline, Session } from "../../transport/transport.ts";
import type { Request } from "../../wire/mod.ts";
import type { Responder } from "../replies/responder.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import type { ServedQueue } from "../request/served_queue.ts";
import { logStep } from "../request/request_log.ts";
import {
  type ApplicationHeaders,
  applicationHeaders,
} from "../../contract/application_headers.ts";
import {
  type ExecutionObserver,
  ServedContext,
  type ServedKind,
  setLastAttempt,
} from "../served_context.ts";
import { attribute, spanEvent } from "../../telemetry/conventions.ts";
import { HandledMessage } from "../telemetry/handled_message.ts";
import { procedureLabel } from "../telemetry/known_procedures.ts";
import { causeOf, type TracedDelivery } from "../telemetry/spans.ts";
import type { TraceHeaders } from "../../telemetry/tracing.ts";
import type { EventLoopMonitor } from "./event_loop_monitor.ts";
import type { LatencyHistogram } from "./latency_histogram.ts";

/** Collaborators of all executions of a server. */
export interface ExecutionServices {
  /** Sends replies and heartbeats, and records results. */
  readonly responder: Responder;
  /** Detects handlers that block the event loop. */
  readonly monitor: EventLoopMonitor<IncomingRequest>;
  /** Durations of handlers. */
  readonly latency: LatencyHistogram;
  /** Milliseconds after which the broker requeues an unacknowledged message. */
  readonly consumerTimeout: number;
  /** Deadline for the ledger, which comes when the worker stops. */
  readonly stopping: Deadline;
  /** Session that receives the requests. */
  readonly session: Session;
  /** True if the spans of casts have traces of their own, with links to their senders. */
  readonly linksCasts: boolean;
}

/** One run of a handler, with its entries in the heartbeat table and in the event-loop monitor. */
export class Execution implements ExecutionObserver, TracedDelivery {
  /** Request that is executed. */
  readonly incoming: IncomingRequest;
  /** Consumer that received the request. */
  readonly served: ServedQueue;
  /** Permit to run. */
  readonly permit: Permit;
  readonly context: ServedContext;
  readonly #services: ExecutionServices;
  #heartbeats: number | undefined;
  #monitored: number | undefined;
  #running = false;
  /** Duration in milliseconds; undefined until the handler has ended. */
  #duration: number | undefined;

  /** Prepares the execution of a request; nothing runs yet. */
  constructor(
    incoming: IncomingRequest,
    served: ServedQueue,
    permit: Permit,
    services: ExecutionServices,
  ) {
    this.incoming = incoming;
    this.served = served;
    this.permit = permit;
    this.#services = services;
    const remaining = Math.round(incoming.deadline - incoming.arrived); // the request has arrived just now
    this.context = new ServedContext(
      this,
      incoming.requestId,
      Date.now() + remaining,
    );
  }

  get request(): Request {
    return this.incoming.request;
  }

  /**
   * Verb of the request. Only Warren's multicalls have a credit; the call of another peer may be answered by a stream
   * as well.
   */
  get kind(): ServedKind {
    const { reply, credit } = this.request;
    if (reply) return credit === undefined ? "call" : "multicall";
    return this.served.queue ? "cast" : "fanout";
  }

  get verb(): ServedKind {
    return this.kind;
  }

  get topic(): string {
    return this.incoming.topic;
  }

  get procedure(): string {
    return this.request.method;
  }

  get id(): string | undefined {
    return this.request.id;
  }

  get address(): Address {
    return this.served.queue ?? { kind: "fanout", topic: this.topic };
  }

  get session(): Session {
    return this.#services.session;
  }

  get attempt(): number {
    return this.incoming.attempt;
  }

  get redelivered(): boolean {
    return this.incoming.redelivered;
  }

  get linked(): boolean {
    return this.#services.linksCasts;
  }

  get cause(): TraceHeaders {
    return causeOf(this.incoming.message.headers, this.request.context);
  }

  get headers(): ApplicationHeaders {
    return applicationHeaders(this.incoming.message.headers);
  }

  get signal(): AbortSignal {
    return this.incoming.signal;
  }

  get deadline(): number {
    return this.incoming.deadline;
  }

  /** Starts to send heartbeats to the caller. */
  startHeartbeats(): void {
    this.#heartbeats = this.#services.responder.heartbeats.start(
      this.incoming,
    );
  }

  /** Stops sending heartbeats. */
  stopHeartbeats(): void {
    this.#services.responder.heartbeats.stop(this.#heartbeats);
    this.#heartbeats = undefined;
  }

  /** Starts the record of the request for telemetry, also if its handler does not run. */
  startRecord(): HandledMessage {
    const handled = new HandledMessage(this);
    this.incoming.record(handled);
    const { interruptions = 0 } = this.request;
    if (interruptions > 0) {
      const attributes = { [attribute.interruptions]: interruptions };
      handled.event(spanEvent.quarantined, attributes);
    }
    return handled;
  }

  /** Ends the record of the request. */
  endRecord(): void {
    const { handled, topic, request: { method } } = this.incoming;
    handled?.end(this.#duration, procedureLabel(topic, method));
  }

  /** Starts the measurement of the handler. */
  start(): void {
    this.#monitored = this.#services.monitor.start(this.incoming);
    this.#running = true;
    logStep(this.incoming, "started");
  }

  /** Ends and measures the handler's time, and releases the permit; later calls have no effect. */
  end(): void {
    this.permit.release();
    if (!this.#running) return;
    this.#running = false;
    const { run, arrived, logsSteps } = this.incoming;
    const ms = this.#duration = performance.now() - (run.startedAt ?? arrived);
    this.#services.latency.add(ms);
    if (logsSteps) {
      logStep(this.incoming, "ended after {ms} ms", { ms: Math.round(ms) });
    }
    run.end();
  }

  /** Removes the request from the event-loop monitor. */
  stopMonitoring(): void {
    this.#services.monitor.stop(this.#monitored, this.#duration ?? 0);
    this.#monitored = undefined;
  }

  onProcedure(procedure: Procedure, name: string): void {
    const { deadline, cancellation, attempt } = this.incoming;
    if (this.kind === "cast") {
      const next = nextDelay(attempt, procedure.retry);
      setLastAttempt(this.context, next === undefined);
    }
    if (this.incoming.procedure === procedure) return;
    this.incoming.resolve(procedure, name);
    if (deadline < Infinity || cancellation.cancelled) return;
    cancellation.setTimer(this.#defaultDeadline(procedure), () => this.#late());
  }

  startRun(procedure: Procedure | undefined): void {
    const { cancellation, name, run } = this.incoming;
    cancellation.signal.throwIfAborted();
    const limit = procedure?.maxDuration;
    run.start(name, limit, (error) => cancellation.interrupt(error));
  }

  onStart(procedure: Procedure): Promise<void> | undefined {
    const once = procedure.delivery === "at-most-once";
    if (once) this.incoming.settlement.ack();
    const stored = once ? undefined : this.#store(procedure);
    if (stored) return stored.then(() => this.startRun(procedure));
    this.startRun(procedure);
    return undefined;
  }

  onPause(ms: number): void {
    if (this.#monitored === undefined) return;
    this.#services.monitor.recordRun(this.incoming, ms);
  }

  onParsed(parsed: unknown, returned: unknown): void {
    const { procedure, run } = this.incoming;
    const stream = procedure?.yields !== undefined;
    run.rawResults.remember(parsed, returned, stream);
  }

  async record(transaction: unknown, result: unknown): Promise<void> {
    const { detached, timeout } = this.incoming.run;
    if (detached) throw timeout;
    return await this.#services.responder.record(
      this.incoming,
      this.context,
      transaction,
      result,
    );
  }

  /**
   * Stores a request in the ledger if its handler may run longer than the broker allows a message to be unacknowledged.
   * Returns undefined if that is not needed.
   */
  #store({ maxDuration = 0 }: Procedure): Promise<void> | undefined {
    const { queue } = this.served;
    const { consumerTimeout, stopping } = this.#services;
    const { settlement, message } = this.incoming;
    const { lease } = settlement;
    if (!lease || !queue || maxDuration < consumerTimeout) return undefined;
    return lease.storeRequest(queueName(queue), message, stopping)
      .then((held) => held ? settlement.store() : this.incoming.fence());
  }

  /** Deadline of a call without one. Warren's streams need none, because the silence of their readers is detected. */
  #defaultDeadline({ yields, maxDuration = 0 }: Procedure): number {
    const { request: { reply, warren }, arrived } = this.incoming;
    const watched = yields && warren !== undefined;
    if (!reply || watched) return Infinity;
    return arrived + Math.max(this.#services.consumerTimeout, maxDuration);
  }

  #late(): void {
    const ms = Math.round(performance.now() - this.incoming.arrived);
    void this.#services.responder.timeOut(this.incoming, ms);
    this.incoming.end(
      `it has taken ${ms} ms, and its caller names no deadline`,
    );
  }
}

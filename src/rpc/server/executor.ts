/** Executor: runs admitted requests, each from its permit to its acknowledgement. @module */
import {
  Permit,
  type PermitDeadline,
  Semaphore,
} from "../../async/semaphore.ts";
import type { ControlTargets } from "../control_targets.ts";
import { castOfStreamError, isStream } from "../dispatch/handler_stream.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import type { ServedQueue } from "../request/served_queue.ts";
import type { Quarantine } from "../retries/quarantine.ts";
import type { PausedQueues } from "../steering/paused_queues.ts";
import type { LatencyStats, LongRunningStats } from "../server_stats.ts";
import type { ServerCounters } from "../telemetry/server_counters.ts";
import type { Claims } from "./claims.ts";
import { EventLoopMonitor } from "./event_loop_monitor.ts";
import { Execution, type ExecutionServices } from "./execution.ts";
import { LatencyHistogram } from "./latency_histogram.ts";
import { LongRunningHandlers } from "./long_running.ts";
import type { RequestFailures } from "./request_failures.ts";

/** Collaborators of an `Executor`. */
export interface ExecutorOptions
  extends Omit<ExecutionServices, "latency" | "monitor"> {
  /** Limit of handlers that run at once. */
  readonly semaphore: Semaphore;
  /** Running requests by call id. */
  readonly targets: ControlTargets;
  /** Claims in the shared ledger; undefined without a ledger. */
  readonly claims: Claims | undefined;
  /** Quarantine of requests that their workers did not finish. */
  readonly quarantine: Quarantine;
  /** Handling of requests that were not done. */
  readonly failures: RequestFailures;
  /** Queues that operators have paused. */
  readonly paused: PausedQueues;
}

/** Runs the requests of one server. */
export class Executor implements Disposable {
  readonly #options: ExecutorOptions;
  readonly #counters: ServerCounters;
  readonly #services: ExecutionServices;
  readonly #latency = new LatencyHistogram();
  readonly #longRunning: LongRunningHandlers;
  readonly #monitor: EventLoopMonitor<IncomingRequest>;
  /** Quarantined requests need no permit: each quarantine consumer has one request at a time. */
  readonly #quarantineSemaphore = new Semaphore(Infinity);

  /** Handlers that run longer than `longRunning` milliseconds are logged; results are counted in `counters`. */
  constructor(
    options: ExecutorOptions,
    counters: ServerCounters,
    longRunning: number,
  ) {
    this.#options = options;
    this.#counters = counters;
    this.#longRunning = new LongRunningHandlers(longRunning);
    this.#monitor = new EventLoopMonitor((active) =>
      this.#longRunning.check(active)
    );
    const { responder, consumerTimeout, stopping, session, linksCasts } =
      options;
    this.#services = {
      ...{ responder, consumerTimeout, stopping, session, linksCasts },
      monitor: this.#monitor,
      latency: this.#latency,
    };
  }

  /** Durations of the handlers. */
  get latency(): LatencyStats {
    return this.#latency.stats;
  }

  /** Handlers that have run longer than `longRunning`: their number, and the first of them. */
  get longRunning(): LongRunningStats {
    return this.#longRunning.stats(this.#monitor.active);
  }

  /** Times that the event loop was blocked for a second or longer. */
  get blocked(): number {
    return this.#monitor.blocked;
  }

  /** Stops the monitoring of the event loop. */
  [Symbol.dispose](): void {
    this.#monitor[Symbol.dispose]();
  }

  /**
   * Runs a request from its permit to its acknowledgement. If `interruptions` is given, the request is given up
   * instead, because that many workers did not finish it. The permit is released before the reply is confirmed, since the
   * confirmation needs none.
   */
  async execute(
    incoming: IncomingRequest,
    served: ServedQueue,
    interruptions?: number,
  ): Promise<void> {
    const { quarantine, failures } = this.#options;
    incoming.register(this.#options.targets);
    if (incoming.request.interruptions) await quarantine.pendingMoves();
    const execution = this.#newExecution(incoming, served);
    try {
      const admitted = this.#admit(execution);
      if (admitted !== true && !(await admitted)) return;
      const handled = execution.startRecord();
      if (interruptions) {
        return await failures.exhausted(incoming, served, interruptions);
      }
      execution.start();
      try {
        const result = await handled.run(() => this.#dispatch(execution));
        await this.#reply(execution, result);
        this.#counters.count("handled", incoming);
      } catch (error) {
        await this.#failed(execution, error);
      }
    } catch (error) {
      await failures.notServed(incoming, error, served);
    } finally {
      const released = this.#finish(execution);
      execution.endRecord();
      if (released) await released;
      incoming.unregister(this.#options.targets);
    }
  }

  #newExecution(incoming: IncomingRequest, served: ServedQueue): Execution {
    const permit = new Permit(
      served.quarantined ? this.#quarantineSemaphore : this.#options.semaphore,
      () => this.#permitDeadline(incoming, served),
    );
    // A handler that continues after its request was cancelled must not keep its permit.
    incoming.cancellation.listen(permit.release);
    return new Execution(incoming, served, permit, this.#services);
  }

  /** Decides whether a request runs here. Returns a promise only if it has to wait. */
  #admit(execution: Execution): boolean | Promise<boolean> {
    const acquired = execution.permit.acquire();
    if (acquired === true) return this.#permitted(execution);
    const { incoming, served } = execution;
    return Promise.resolve(acquired).then((acquired) =>
      acquired
        ? this.#permitted(execution)
        : this.#options.failures.notAdmitted(incoming, served).then(no)
    );
  }

  /** False if the request is cancelled or expired, or another worker has claimed it. */
  #permitted(execution: Execution): boolean | Promise<boolean> {
    const { incoming, served } = execution;
    const { failures, claims, paused } = this.#options;
    if (incoming.cancellation.cancelled) {
      return this.#counters.count("dropped", incoming), false;
    }
    if (incoming.expired) {
      execution.startRecord();
      return failures.expired(incoming, served).then(no);
    }
    const held = paused.hold(incoming, served); // paused while it waited
    if (held) return held.then((held) => !held && this.#permitted(execution));
    execution.startHeartbeats();
    return !claims || this.#claim(claims, execution);
  }

  /**
   * Deadline of the wait for a permit. A request that waits for half of the consumer timeout is requeued, before the
   * broker requeues it as if its worker had died.
   */
  #permitDeadline(
    { arrived, signal }: IncomingRequest,
    { queue }: ServedQueue,
  ): PermitDeadline {
    const { consumerTimeout } = this.#options;
    return { at: arrived + (queue ? consumerTimeout / 2 : Infinity), signal };
  }

  /** True if this worker holds the claim, or needs none; false if the request is done, claimed elsewhere or refused. */
  async #claim(
    claims: Claims,
    { incoming, served, permit }: Execution,
  ): Promise<boolean> {
    const { failures } = this.#options;
    const { at } = this.#permitDeadline(incoming, served);
    for (;;) {
      const claim = await claims.claim(incoming, served);
      if (claim === undefined || claim.state === "held") return true;
      if (claim.state === "conflict") {
        return await failures.conflicting(incoming, served), false;
      }
      if (claim.state === "done") {
        return await this.#repeat(incoming, claim.replies), false;
      }
      if (claim.stored) {
        incoming.settlement.handOver(); // the ledger requeues the request if its worker dies
        return false;
      }
      permit.release();
      const waited = await claims.waitForRelease(incoming, claim.ms);
      const inTime = waited && performance.now() < at;
      if (inTime && await permit.acquire()) continue;
      return await failures.notAdmitted(incoming, served), false;
    }
  }

  /** Repeats the replies of a request that another worker has done. */
  async #repeat(
    incoming: IncomingRequest,
    replies: IncomingRequest["replies"],
  ): Promise<void> {
    this.#counters.count("repeated", incoming);
    incoming.reply(replies);
    await this.#options.responder.repeat(incoming, replies);
    incoming.settlement.complete();
  }

  /**
   * Ends an execution, and settles its request. A fenced request is requeued as well: if its new owner dies, the next worker
   * finds the claim in the ledger.
   */
  #finish(execution: Execution): Promise<void> | undefined {
    const { incoming, served, permit } = execution;
    const { settlement } = incoming;
    execution.stopMonitoring();
    incoming.cancellation.listen(undefined);
    permit.release();
    execution.stopHeartbeats();
    if (settlement.fenced) {
      this.#counters.count("fenced", incoming);
      settlement.requeue();
    }
    settlement.complete();
    return this.release(incoming, served);
  }

  /** Releases the claim of a request that is requeued: another worker may claim it at once. */
  release(
    incoming: IncomingRequest,
    { queue }: ServedQueue,
  ): Promise<void> | undefined {
    const { settlement } = incoming;
    if (settlement.abandoned) {
      return this.#options.claims?.release(incoming, queue);
    }
    settlement.lease?.stop();
    return undefined;
  }

  /** Replies with the result of a handler. */
  #reply(execution: Execution, result: unknown): Promise<void> {
    if (isStream(result)) return this.#stream(execution, result);
    execution.end();
    return this.#options.responder.result(execution.incoming, result);
  }

  async #failed(execution: Execution, error: unknown): Promise<void> {
    const { incoming, served } = execution;
    execution.end();
    if (incoming.run.detached) this.#longRunning.detach(incoming);
    execution.stopHeartbeats(); // another worker may send heartbeats from now on
    await this.#options.failures.failed(incoming, error, served);
  }

  #dispatch(execution: Execution): Promise<unknown> {
    const { context, incoming, served: { dispatcher } } = execution;
    const { version = "1.0", method, args, namespace } = incoming.request;
    const work = dispatcher.dispatch(context, version, method, args, namespace);
    // The dispatcher may call another one, which finds the procedure later.
    const { procedure, run } = incoming;
    const unlimited = procedure && procedure.maxDuration === undefined;
    return unlimited ? work : run.limit(work);
  }

  async #stream(
    execution: Execution,
    items: AsyncIterable<unknown>,
  ): Promise<void> {
    const { incoming, served: { recent } } = execution;
    if (!incoming.request.reply) {
      throw castOfStreamError(incoming.request.method);
    }
    recent.startStream(incoming);
    const sent = this.#options.responder.streams.send(incoming, items);
    await incoming.run.limit(sent);
    execution.end();
  }
}

const no = () => false;

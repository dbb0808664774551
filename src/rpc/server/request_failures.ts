/** Requests that were not done: failed, expired, given up, or returned to their queue. @module */
import type { Deadline } from "../../async/deadline.ts";
import { InterruptedError, TimeoutError } from "../../errors.ts";
import type { Responder } from "../replies/responder.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import { conflictError } from "../request/request_key.ts";
import type { ServedQueue } from "../request/served_queue.ts";
import {
  logFailedCall,
  logFailedCast,
  logStep,
} from "../request/request_log.ts";
import type { CastFailures } from "../retries/cast_failures.ts";
import type { Quarantine } from "../retries/quarantine.ts";
import type { VersionDeferral } from "../retries/version_deferral.ts";
import { attribute, spanEvent } from "../../telemetry/conventions.ts";
import type { Disposition } from "../server_stats.ts";
import type { ServerCounters } from "../telemetry/server_counters.ts";

/** Collaborators of `RequestFailures`. */
export interface RequestFailuresOptions {
  /** Sends failures to callers. */
  readonly responder: Responder;
  /** Retries and dead letters of casts. */
  readonly castFailures: CastFailures;
  /** Quarantine of requests that their workers did not finish. */
  readonly quarantine: Quarantine;
  /** Handling of requests in versions that only other workers serve. */
  readonly versionDeferral: VersionDeferral;
  /** Statistics of the server. */
  readonly counters: ServerCounters;
  /** Deadline for the ledger, which comes when the worker stops. */
  readonly stopping: Deadline;
}

/** Decides on the requests of one server that were not done: reply, retry, dead letter, or requeue. */
export class RequestFailures {
  readonly #responder: Responder;
  readonly #castFailures: CastFailures;
  readonly #quarantine: Quarantine;
  readonly #versionDeferral: VersionDeferral;
  readonly #counters: ServerCounters;
  readonly #stopping: Deadline;

  /** Failures are counted in `counters`. */
  constructor(options: RequestFailuresOptions) {
    this.#responder = options.responder;
    this.#castFailures = options.castFailures;
    this.#quarantine = options.quarantine;
    this.#versionDeferral = options.versionDeferral;
    this.#counters = options.counters;
    this.#stopping = options.stopping;
  }

  /**
   * Handles the error of a dispatch: the request is deferred to a worker that serves its version, the caller gets the
   * error, or the cast is retried.
   */
  async failed(
    incoming: IncomingRequest,
    error: unknown,
    served: ServedQueue,
  ): Promise<void> {
    if (await this.#versionDeferral.tryDefer(incoming, error, served)) {
      return incoming.handled?.defer();
    }
    incoming.handled?.fail(error);
    this.#counters.count("failed", incoming);
    if (incoming.request.reply) {
      logFailedCall(incoming, error);
      await this.#responder.failure(incoming, error);
    } else await this.#failedCast(incoming, error, served);
  }

  /** Refuses a request whose id another request had before: the caller gets the error, a cast becomes a dead letter. */
  async conflicting(
    incoming: IncomingRequest,
    served: ServedQueue,
  ): Promise<void> {
    await this.failed(incoming, conflictError(incoming.request), served);
    incoming.settlement.complete();
  }

  /** Handles a request that its sender would have dropped by now. */
  async expired(incoming: IncomingRequest, served: ServedQueue): Promise<void> {
    if (incoming.request.reply) { // the caller's timeout is over
      return this.#counters.count("dropped", incoming);
    }
    const reason = "expired before its next attempt";
    incoming.handled?.fail(new TimeoutError(reason));
    const { queue } = served;
    const disposition = await this.#castFailures.expired(incoming, queue);
    logFailedCast(incoming, reason, disposition, queue);
    if (disposition === "dropped") this.#counters.count("dropped", incoming);
    if (disposition === "requeued") await this.requeue(incoming, served);
    this.#record(disposition, incoming);
  }

  /** Gives up a request that was interrupted `interruptions` times. */
  async exhausted(
    incoming: IncomingRequest,
    served: ServedQueue,
    interruptions: number,
  ): Promise<void> {
    const reason = `interrupted ${interruptions} times`;
    incoming.handled?.fail(new InterruptedError(reason));
    const disposition = await this.#quarantine.giveUp(
      incoming,
      interruptions,
      served,
    );
    if (disposition === "requeued") await this.requeue(incoming, served);
    this.#record(disposition, incoming);
    if (incoming.request.reply) return logFailedCall(incoming, reason);
    logFailedCast(incoming, reason, disposition, served.queue);
    const { abandoned, lease } = incoming.settlement;
    if (!abandoned && lease) await this.#responder.result(incoming, undefined);
  }

  /** Handles an error of the server itself. The sender of a cast would not learn of it, so the cast is requeued. */
  async notServed(
    incoming: IncomingRequest,
    error: unknown,
    served: ServedQueue,
  ): Promise<void> {
    if (incoming.cancellation.cancelled) return; // no caller waits, or the request is requeued
    if (incoming.request.reply) throw error;
    await this.#castFailures.backOff(incoming, error);
    await this.requeue(incoming, served);
  }

  /** Handles a request that waited too long for a permit or for another worker's claim. */
  async notAdmitted(
    incoming: IncomingRequest,
    served: ServedQueue,
  ): Promise<void> {
    const { cancelled } = incoming.cancellation;
    if (cancelled || !served.queue) this.#counters.count("dropped", incoming);
    else await this.requeue(incoming, served);
  }

  /**
   * Requeues a request at the end of its queue, as a copy, so that no worker counts it as interrupted. If no copy is
   * possible, the delivery itself is requeued.
   */
  async requeue(incoming: IncomingRequest, served: ServedQueue): Promise<void> {
    const { settlement } = incoming;
    if (!settlement.open) return;
    const copied = !settlement.lost &&
      await this.#quarantine.requeue(incoming, served);
    if (copied) settlement.handOver();
    else settlement.requeue();
  }

  #record(disposition: Disposition, incoming: IncomingRequest): void {
    this.#counters.countDisposition(disposition, incoming);
    if (disposition === "dropped") return;
    const { attempt } = incoming;
    incoming.handled?.event(spanEvent[disposition], {
      [attribute.attempt]: attempt,
    });
  }

  async #failedCast(
    incoming: IncomingRequest,
    error: unknown,
    served: ServedQueue,
  ): Promise<void> {
    if (!await this.#holdsLease(incoming)) {
      const step = "failed after another worker took it: {error}";
      logStep(incoming, step, { error });
      return incoming.fence();
    }
    const { queue } = served;
    const disposition = await this.#castFailures.failed(incoming, error, queue);
    logFailedCast(incoming, error, disposition, queue);
    if (disposition === "requeued") await this.requeue(incoming, served);
    this.#record(disposition, incoming);
    if (!incoming.settlement.abandoned) {
      await this.#responder.result(incoming, undefined);
    }
  }

  /**
   * True if the lease is still held, or there is no ledger. A handler that continues after its time limit must not
   * record a result, which is left to another attempt.
   */
  async #holdsLease({ settlement, run }: IncomingRequest): Promise<boolean> {
    const { lease } = settlement;
    if (!lease) return true;
    return await (run.timeout
      ? lease.restart(this.#stopping)
      : lease.confirm(this.#stopping));
  }
}

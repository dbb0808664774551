/**
 * Quarantine: interrupted requests are counted, run one at a time from a queue of their own, and finally given up.
 *
 * @module
 */
import { setImmediate } from "node:timers/promises";
import { withDeadline } from "../../async/deadline.ts";
import { ConnectionDisposedError, InterruptedError } from "../../errors.ts";
import { logger, oneLine } from "../../logging.ts";
import { type Address, direct, queueName } from "../../transport/address.ts";
import { isNearDeliveryLimit } from "../../transport/delivery_limit.ts";
import type { Session } from "../../transport/transport.ts";
import { isContentError } from "../../transport/content_errors.ts";
import { type Republisher, sameAttempt } from "./republisher.ts";
import type { CastFailures } from "./cast_failures.ts";
import type { Disposition } from "../server_stats.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import type { ServedQueue } from "../request/served_queue.ts";
import { markDispatchError } from "../dispatch/handler_result.ts";
import type { Responder } from "../replies/responder.ts";

/** Redeliveries after which a request moves to the quarantine queue, and after which it is given up. */
export const QUARANTINE_AFTER = 2;
const MAX_REDELIVERIES = 5;
/** Maximum number of remembered requests that this worker has requeued by itself. */
const MAX_REQUEUED = 10_000;

/** Milliseconds for the broker to take a request into the quarantine queue; otherwise the request runs where it is. */
const MOVE_TIMEOUT_MS = 5_000;
/** Milliseconds for the broker to confirm that it has processed acknowledgements. */
const FLUSH_TIMEOUT_MS = 5_000;
/** Milliseconds for the broker to confirm copies of unfinished requests when the worker stops. */
const SHUTDOWN_TIMEOUT_MS = 1_000;

/** Collaborators of a `Quarantine`. */
export interface QuarantineOptions {
  /** Session of the consumers. */
  readonly session: Session;
  /** Moves requests to other queues. */
  readonly republisher: Republisher;
  /** Dead-letters casts that are given up. */
  readonly castFailures: CastFailures;
  /** Replies to calls that are given up. */
  readonly responder: Responder;
}

/**
 * Decision on an interrupted request: it is served here, was moved to a queue, or is given up after this number of
 * interruptions.
 */
export type QuarantineDecision = "served" | "moved" | {
  readonly exhausted: number;
};

/** Handles the interrupted requests of one server. */
export class Quarantine {
  readonly #session: Session;
  readonly #republisher: Republisher;
  readonly #castFailures: CastFailures;
  readonly #responder: Responder;
  /** Interruptions of requests, including the one with which they arrived here. */
  readonly #counted = new WeakMap<IncomingRequest, number>();
  /** Requests that were to be replaced by copies. */
  readonly #replaced = new WeakSet<IncomingRequest>();
  readonly #moving = new Set<Promise<QuarantineDecision>>();
  /** Keys of requests that this worker has requeued by itself: their next redelivery is no interruption. */
  readonly #requeued = new Set<string>();
  #flush: Promise<void> | undefined;
  #warned = false;

  /** Serves the consumers of `session`. */
  constructor(options: QuarantineOptions) {
    this.#session = options.session;
    this.#republisher = options.republisher;
    this.#castFailures = options.castFailures;
    this.#responder = options.responder;
  }

  /**
   * True for a request that a worker did not finish, unless this worker has requeued it. A lost connection counts as
   * the death of a worker.
   */
  isSuspect(
    incoming: IncomingRequest,
    { quarantine, quarantined = false }: ServedQueue,
  ): boolean {
    if (!quarantine || this.#counted.has(incoming)) return false;
    const { interruptions = 0 } = incoming.request;
    if (quarantined && interruptions >= MAX_REDELIVERIES) return true;
    if (!incoming.redelivered) return false;
    const key = incoming.key?.text;
    return key === undefined || !this.#requeued.has(key);
  }

  /** Notes that a request is being run: its next redelivery is an interruption again. */
  onAdmitted(incoming: IncomingRequest): void {
    if (!incoming.redelivered || this.#requeued.size === 0) return;
    const key = incoming.key?.text;
    if (key !== undefined) this.#requeued.delete(key);
  }

  /**
   * Resolves when all requests that are being moved are in their new queues, because the next request that is run may
   * end this worker.
   */
  async pendingMoves(): Promise<void> {
    await Promise.all(this.#moving);
  }

  /** Counts an interruption of a request, and decides where it is run. */
  async onInterrupted(
    incoming: IncomingRequest,
    served: ServedQueue,
  ): Promise<QuarantineDecision> {
    const times = incoming.redelivered
      ? interruptionsOf(incoming)
      : incoming.request.interruptions ?? 0;
    this.#counted.set(incoming, times);
    if (served.quarantined && times >= MAX_REDELIVERIES) {
      return { exhausted: times };
    }
    const route = countedAddress(times, incoming, served);
    if (!route || !served.quarantine) return "served";
    const moving = this.#move(incoming, route, times)
      .finally(() => this.#moving.delete(moving));
    this.#moving.add(moving);
    return await moving;
  }

  /**
   * Publishes a copy at the end of the request's queue, with the number of interruptions; false if the broker did not confirm
   * it.
   */
  async requeue(
    incoming: IncomingRequest,
    served: ServedQueue,
  ): Promise<boolean> {
    const { message, request } = incoming;
    const route = requeueAddress(request.interruptions ?? 0, served);
    if (!route) return false;
    const copy = sameAttempt(message, this.#counted.get(incoming));
    try {
      await this.#republisher.send(route, copy);
      return true;
    } catch (error) {
      if (!(error instanceof ConnectionDisposedError)) this.#warn(route, error);
      return false;
    }
  }

  /** True for a request that has to be replaced by a copy, because the broker might drop it after more deliveries. */
  isNearLimit(incoming: IncomingRequest, { queue }: ServedQueue): boolean {
    return queue !== undefined && isNearDeliveryLimit(incoming) &&
      !this.#replaced.has(incoming);
  }

  /**
   * Replaces a request by a copy with the same number of interruptions at the end of its queue; false if the broker did not
   * confirm the copy.
   */
  async replace(
    incoming: IncomingRequest,
    served: ServedQueue,
  ): Promise<boolean> {
    this.#replaced.add(incoming);
    const copied = await this.requeue(incoming, served);
    if (copied) incoming.settlement.handOver();
    return copied;
  }

  /** Requeues a request that the stopping worker has abandoned as a copy, so that no worker counts it as interrupted. */
  async requeueAbandoned(
    incoming: IncomingRequest,
    served: ServedQueue,
  ): Promise<void> {
    const { abandoned, acknowledged, lost } = incoming.settlement;
    if (!served.quarantine || !abandoned || acknowledged || lost) return;
    const deadline = { at: performance.now() + SHUTDOWN_TIMEOUT_MS };
    const sent = this.requeue(incoming, served);
    const copied = await withDeadline(sent, deadline, () => undefined)
      .catch(() => false);
    if (copied) incoming.settlement.handOver();
  }

  /** Remembers a request that this worker has requeued by its own decision, so that it does not count as interrupted. */
  onSettled(incoming: IncomingRequest): void {
    const { abandoned, acknowledged } = incoming.settlement;
    if (!abandoned || acknowledged || this.#counted.has(incoming)) return;
    const key = incoming.key?.text;
    if (key === undefined) return;
    this.#requeued.add(key);
    const [oldest] = this.#requeued;
    const full = this.#requeued.size > MAX_REQUEUED;
    if (full && oldest !== undefined) this.#requeued.delete(oldest);
  }

  /**
   * Moves a request to another queue. If the broker rejects the copy because of its content, the interruptions cannot
   * be counted, and the request is given up.
   */
  async #move(
    incoming: IncomingRequest,
    route: Address,
    times: number,
  ): Promise<QuarantineDecision> {
    try {
      const copy = sameAttempt(incoming.message, times);
      await this.#republisher.send(route, copy, MOVE_TIMEOUT_MS);
      incoming.settlement.handOver();
    } catch (error) {
      if (incoming.settlement.abandoned) return "moved";
      if (isContentError(error)) return { exhausted: times };
      this.#warn(route, error);
      return "served";
    }
    await (this.#flush ??= this.#flushAcks());
    return "moved";
  }

  /**
   * Resolves when the broker has processed all acknowledgements. A copy that ends this worker then causes no second
   * delivery of the other originals.
   */
  async #flushAcks(): Promise<void> {
    await setImmediate(); // one flush serves all acknowledgements of this turn
    this.#flush = undefined;
    const deadline = { at: performance.now() + FLUSH_TIMEOUT_MS };
    await this.#session.flush(deadline).catch(() => {});
  }

  #warn(address: Address, error: unknown): void {
    if (this.#warned) return;
    this.#warned = true;
    logger("rpc").warn(
      "What workers did not finish is handled where it is, since {queue} does not take it: {error}",
      { queue: oneLine(queueName(address)), error },
    );
  }

  /** Gives up a request that was interrupted too often: a cast is dead-lettered, a call gets an error. */
  async giveUp(
    incoming: IncomingRequest,
    times: number,
    { queue }: ServedQueue,
  ): Promise<Disposition> {
    const reason =
      `Interrupted ${times} times: its worker died or lost its broker each time`;
    let disposition: Disposition = "dropped";
    if (incoming.request.reply) {
      await this.#responder.failure(
        incoming,
        markDispatchError(new InterruptedError(reason)),
      );
    } else {disposition = await this.#castFailures.interrupted(
        incoming,
        reason,
        queue,
      );}
    return disposition;
  }
}

/**
 * Returns the number of interruptions of a redelivered request, including this one; the broker's own count if it counts
 * deliveries.
 */
function interruptionsOf(
  { request, deliveryCount = 1 }: IncomingRequest,
): number {
  const { interruptions = 0 } = request;
  return interruptions + Math.max(1, deliveryCount);
}

/** Returns the queue to which a request with this number of interruptions is requeued; undefined for a fanout. */
export function requeueAddress(
  times: number,
  served: ServedQueue,
): Address | undefined {
  const { queue, quarantine } = served;
  if (times >= QUARANTINE_AFTER && quarantine) return quarantine;
  return queue && direct(queueName(queue));
}

/**
 * Returns the queue to which an interrupted request is moved with its count. Undefined if the broker counts by itself,
 * and the request is not to be quarantined yet.
 */
function countedAddress(
  times: number,
  { deliveryCount }: IncomingRequest,
  { queue, quarantine, quarantined }: ServedQueue,
): Address | undefined {
  if (quarantined || times >= QUARANTINE_AFTER) return quarantine;
  return queue && deliveryCount === undefined
    ? direct(queueName(queue))
    : undefined;
}

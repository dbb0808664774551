/** Requests that their workers did not finish: counted, kept apart from others, and given up at last. @module */
import { setImmediate } from "node:timers/promises";
import { ConnectionDisposedError, InterruptedError } from "../../errors.ts";
import { logger, oneLine } from "../../logging.ts";
import { type Address, direct, queueName } from "../../transport/address.ts";
import type { Session } from "../../transport/transport.ts";
import { isContent, type Republisher, sameAttempt } from "./republisher.ts";
import type { CastFailures } from "./cast_failures.ts";
import type { Disposition } from "../server_stats.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import { fullRequestKey, type ServedQueue } from "../request/served_queue.ts";
import { markDispatchError } from "../dispatch/handler_result.ts";
import type { Responder } from "../replies/responder.ts";

/** Interruptions after which it is handled apart from others, and after which nobody tries again. */
const QUARANTINE_AFTER = 2;
const MAX_REDELIVERIES = 5;
/** Requests remembered that this worker gave back by itself, at most. */
const GIVEN_BACK = 10_000;

/** Milliseconds that the broker may take to say that it has read what was acknowledged. */
const PATIENCE = 5_000;

/** What taking care of interrupted requests needs. */
export interface QuarantineParts {
  /** Of their deliveries. */
  readonly session: Session;
  /** To move them. */
  readonly republisher: Republisher;
  /** To keep casts that are given up. */
  readonly castFailures: CastFailures;
  /** To answer calls that are given up. */
  readonly responder: Responder;
}

/** What becomes of one: it is handled where it is, is elsewhere now, or is given up after so many times. */
export type InterruptedRequest = "here" | "moved" | {
  readonly hopeless: number;
};

/** Takes care of the interrupted requests of one context. */
export class Quarantine {
  readonly #parts: QuarantineParts;
  readonly #counted = new WeakSet<IncomingRequest>();
  readonly #moving = new Set<Promise<InterruptedRequest>>();
  #reading: Promise<void> | undefined;
  readonly #givenBack = new Set<string>();
  #warned = false;

  /** Of its parts. */
  constructor(parts: QuarantineParts) {
    this.#parts = parts;
  }

  /** True for a request that a worker had and did not finish, unless it is known why. A cut looks like a death. */
  isSuspect(
    incoming: IncomingRequest,
    { quarantine, quarantined = false }: ServedQueue,
  ): boolean {
    if (!quarantine || this.#counted.has(incoming)) return false;
    const { interruptions = 0 } = incoming.request;
    if (quarantined && interruptions >= MAX_REDELIVERIES) return true;
    if (!incoming.redelivered) return false;
    const one = fullRequestKey(incoming);
    return one === undefined || !this.#givenBack.delete(one);
  }

  /** Resolves when what was being moved is safe: what may end this worker must not take that with it. */
  async othersSafe(): Promise<void> {
    await Promise.all(this.#moving);
  }

  /** Counts one more interruption; resolves to what is to become of it. */
  async take(
    incoming: IncomingRequest,
    served: ServedQueue,
  ): Promise<InterruptedRequest> {
    this.#counted.add(incoming);
    const times = incoming.redelivered
      ? timesOf(incoming)
      : incoming.request.interruptions ?? 0;
    if (served.quarantined && times >= MAX_REDELIVERIES) {
      return { hopeless: times };
    }
    const route = wayOf(times, incoming, served);
    if (!route || !served.quarantine) return "here";
    const moving = this.#move(incoming, route, times)
      .finally(() => this.#moving.delete(moving));
    this.#moving.add(moving);
    return await moving;
  }

  /** At the end of its queue, as it came; false if the broker did not take it. */
  async requeue(
    { message, request }: IncomingRequest,
    served: ServedQueue,
  ): Promise<boolean> {
    const route = requeueAddress(request.interruptions ?? 0, served);
    if (!route) return false;
    try {
      await this.#parts.republisher.send(route, sameAttempt(message));
      return true;
    } catch (error) {
      if (!(error instanceof ConnectionDisposedError)) this.#warn(route, error);
      return false;
    }
  }

  /** One that goes back to its queue by this worker's own will was not interrupted. */
  ended(incoming: IncomingRequest): void {
    if (
      !incoming.abandoned || incoming.acknowledged ||
      this.#counted.has(incoming)
    ) return;
    const one = fullRequestKey(incoming);
    if (one === undefined) return;
    this.#givenBack.add(one);
    const [oldest] = this.#givenBack;
    const full = this.#givenBack.size > GIVEN_BACK;
    if (full && oldest !== undefined) this.#givenBack.delete(oldest);
  }

  /** A copy that is refused for its content can neither be counted nor be handled apart, so its message is given up. */
  async #move(
    incoming: IncomingRequest,
    route: Address,
    times: number,
  ): Promise<InterruptedRequest> {
    try {
      await this.#parts.republisher.send(
        route,
        sameAttempt(incoming.message, times),
      );
      incoming.passOn();
    } catch (error) {
      if (incoming.abandoned) return "moved";
      if (isContent(error)) return { hopeless: times };
      this.#warn(route, error);
      return "here";
    }
    await (this.#reading ??= this.#read());
    return "moved";
  }

  /** Resolves when the broker has read what was acknowledged: if a copy ends this worker, it is the only one. */
  async #read(): Promise<void> {
    await setImmediate(); // what is acknowledged meanwhile needs no question of its own
    this.#reading = undefined;
    const wait = { at: performance.now() + PATIENCE };
    await this.#parts.session.flush(wait).catch(() => {});
  }

  #warn(address: Address, error: unknown): void {
    if (this.#warned) return;
    this.#warned = true;
    logger("rpc").warn(
      "What workers did not finish is handled where it is, since {queue} does not take it: {error}",
      { queue: oneLine(queueName(address)), error },
    );
  }

  /** A cast becomes a dead letter, a call fails. */
  async giveUp(
    incoming: IncomingRequest,
    times: number,
    { queue }: ServedQueue,
  ): Promise<Disposition> {
    const reason =
      `Interrupted ${times} times: its worker died or lost its broker each time`;
    const { castFailures, responder } = this.#parts;
    let fate: Disposition = "dropped";
    if (incoming.request.reply) {
      await responder.failure(
        incoming,
        markDispatchError(new InterruptedError(reason)),
      );
    } else fate = await castFailures.interrupted(incoming, reason, queue);
    return fate;
  }
}

/** Interruptions of a request, this one included. Where the broker counts deliveries, its count holds. */
function timesOf({ request, deliveryCount = 1 }: IncomingRequest): number {
  const { interruptions = 0 } = request;
  return interruptions + Math.max(1, deliveryCount);
}

/** Where one is put that has lost its worker otherwise; undefined where there is no such place. */
export function requeueAddress(
  times: number,
  served: ServedQueue,
): Address | undefined {
  const { queue, quarantine } = served;
  if (times >= QUARANTINE_AFTER && quarantine) return quarantine;
  return queue && direct(queueName(queue));
}

/** Where it is put, counted; undefined where its queue has counted it, and it is no danger to others yet. */
function wayOf(
  times: number,
  { deliveryCount }: IncomingRequest,
  { queue, quarantine, quarantined }: ServedQueue,
): Address | undefined {
  if (quarantined || times >= QUARANTINE_AFTER) return quarantine;
  return queue && deliveryCount === undefined
    ? direct(queueName(queue))
    : undefined;
}

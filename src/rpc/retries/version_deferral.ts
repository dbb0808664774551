/**
 * Deferral of requests in a version that another worker of the queue serves, but not this one: they are requeued after
 * a delay.
 *
 * @module
 */
import { UnsupportedVersionError } from "../../errors.ts";
import { logger } from "../../logging.ts";
import { delay } from "../../async/deadline.ts";
import { queueName } from "../../transport/address.ts";
import type { Message } from "../../transport/transport.ts";
import type { RpcClient } from "../client/rpc_client.ts";
import { deferralHeaders, interruptionsOf } from "../../wire/mod.ts";
import { type Republisher, sameAttempt } from "./republisher.ts";
import { VersionSurvey } from "./version_survey.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import type { ServedQueue } from "../request/served_queue.ts";
import { isDispatchError } from "../dispatch/handler_result.ts";

/** Maximum number of deferrals of one request. */
const MAX_DEFERRALS = 20;
/** Delay of a deferral, in milliseconds: shorter for the first deferrals, in which most requests find another worker. */
const FIRST_DELAY_MS = 100;
const LATER_DELAY_MS = 1_000;
/** Number of deferrals with the shorter delay. */
const FIRST_DEFERRALS = 5;

/** Requeues requests for workers that serve their versions. */
export class VersionDeferral {
  readonly #republisher: Republisher;
  readonly #survey: VersionSurvey;
  readonly #openstack: boolean;

  /**
   * Other services are queried through `caller`. With `openstack`, no request is deferred, because that bus has no
   * delay queues.
   */
  constructor(
    republisher: Republisher,
    caller: Pick<RpcClient, "gather">,
    openstack: boolean,
  ) {
    this.#republisher = republisher;
    this.#survey = new VersionSurvey(caller);
    this.#openstack = openstack;
  }

  /**
   * Defers a request if its error is an unsupported version. True if the request was requeued; false if it fails with
   * the error.
   */
  async tryDefer(
    incoming: IncomingRequest,
    error: unknown,
    served: ServedQueue,
  ): Promise<boolean> {
    const { queue, addressee } = served;
    const unsupported = error instanceof UnsupportedVersionError &&
      isDispatchError(error);
    if (!unsupported || !queue || this.#openstack || isDone(incoming)) {
      return false;
    }
    const { deferred = 0, version = "1.0", namespace } = incoming.request;
    const ms = deferred < FIRST_DEFERRALS ? FIRST_DELAY_MS : LATER_DELAY_MS;
    if (deferred >= MAX_DEFERRALS || remainingTime(incoming) <= ms) {
      return false;
    }
    const wanted = { addressee, queue: queueName(queue), version, namespace };
    if (!(await this.#survey.serves(wanted)) || isDone(incoming)) return false;
    return await this.#send(incoming, served, deferred + 1, ms);
  }

  /** Publishes the copy; false if the broker did not confirm it. */
  async #send(
    incoming: IncomingRequest,
    { queue, quarantined, quarantine }: ServedQueue,
    times: number,
    ms: number,
  ): Promise<boolean> {
    if (!queue) return false;
    try {
      // A quarantined request stays in the quarantine queue. It waits here, because that queue has no delay queue.
      const target = quarantined ? quarantine : undefined;
      const deadline = { at: Infinity, signal: incoming.signal };
      if (target) await delay(ms, deadline);
      const remaining = remainingTime(incoming);
      if (isDone(incoming) || remaining <= ms) return false;
      // Workers count a timeout from the arrival, so the delay in the queue is subtracted here.
      const copy = copyFor(incoming, times, {
        remaining,
        delay: target ? 0 : ms,
      });
      await this.#republisher.send(
        target ?? { kind: "delay", of: queue, ms },
        copy,
      );
      incoming.settlement.handOver();
      return true;
    } catch (error) {
      if (!isDone(incoming)) {
        logger("rpc").warn(
          "A request cannot go to a worker that serves its version: {error}",
          { error },
        );
      }
      return false;
    }
  }
}

/** True if no caller waits for the request any more, or another worker will get it. */
function isDone({ cancellation, settlement }: IncomingRequest): boolean {
  return cancellation.cancelled || !settlement.open;
}

/**
 * Returns the milliseconds until the sender's timeout ends. The time in the queue is known only for a deferred copy,
 * which has a time stamp.
 */
function remainingTime(
  { deadline, arrived, message, request }: IncomingRequest,
): number {
  const now = performance.now();
  const { expiration = Infinity } = message;
  const { expires = Infinity } = request;
  const stamped = expires - Date.now();
  return Math.min(deadline - now, arrived + expiration - now, stamped);
}

/**
 * Copies a request within the same attempt. The remaining time is in the headers, because the expiration of the message
 * would be lost in the delay queue.
 */
function copyFor(
  { message, request: { timeout, reply } }: IncomingRequest,
  times: number,
  { remaining, delay }: { readonly remaining: number; readonly delay: number },
): Message {
  const rest = Math.round(remaining - delay);
  const { expiration: _, ...before } = message;
  const copy = sameAttempt(before, interruptionsOf(message.headers));
  const headers = {
    ...copy.headers,
    ...deferralHeaders(times, {
      expires: remaining === Infinity ? undefined : Date.now() + delay + rest,
      timeout: reply && timeout !== undefined ? rest : undefined,
    }),
  };
  return { ...copy, headers };
}

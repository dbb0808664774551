/** Deferral of requests in a version that this worker does not serve, and another worker does: they go back to their queue after a delay. @module */
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

/** Deferrals of one request. */
const MAX_DEFERRALS = 20;
/** Milliseconds before a request is in its queue again, for the first deferrals and for the later ones: most requests find another worker soon. */
const FIRST_DELAY_MS = 100;
const LATER_DELAY_MS = 1_000;
/** Deferrals with the shorter delay. */
const FIRST_DEFERRALS = 5;

/** Hands requests over to workers that serve their versions. */
export class VersionDeferral {
  readonly #republisher: Republisher;
  readonly #survey: VersionSurvey;
  readonly #openstack: boolean;

  /**
   * Asks other services through `caller`. With `openstack` no request is deferred: that bus has no queues to delay it in.
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

  /** Defers a request if its error is an unsupported version. True if it has gone back to its queue; false if the error stands. */
  async take(
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

  /** Publishes the copy; false if the broker did not take it. */
  async #send(
    incoming: IncomingRequest,
    { queue, quarantined, quarantine }: ServedQueue,
    times: number,
    ms: number,
  ): Promise<boolean> {
    if (!queue) return false;
    try {
      // A quarantined request stays in the quarantine queue. It waits here, since that queue has no delay queue.
      const target = quarantined ? quarantine : undefined;
      const deadline = { at: Infinity, signal: incoming.signal };
      if (target) await delay(ms, deadline);
      const remaining = remainingTime(incoming);
      if (isDone(incoming) || remaining <= ms) return false;
      // A worker counts a timeout from the arrival, so the delay in the queue is subtracted here.
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

/** True if nobody waits for the request any more, or another worker will get it. */
function isDone({ cancellation, settlement }: IncomingRequest): boolean {
  return cancellation.cancelled || !settlement.open;
}

/** Milliseconds until the sender gives up. The time in the queue is known only of a deferred copy, which has a time stamp. */
function remainingTime(
  { deadline, arrived, message, request }: IncomingRequest,
): number {
  const now = performance.now();
  const { expiration = Infinity } = message;
  const { expires = Infinity } = request;
  const stamped = expires - Date.now();
  return Math.min(deadline - now, arrived + expiration - now, stamped);
}

/** Copy in the same attempt with the remaining time in its headers, since its expiration would be lost in the delay queue. */
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

/** Requests in a version that this worker does not serve, and another does: they go back to their queue, after a while. @module */
import { UnsupportedVersionError } from "../../errors.ts";
import { logger } from "../../logging.ts";
import { delay } from "../../async/deadline.ts";
import { queueName } from "../../transport/address.ts";
import type { Message } from "../../transport/transport.ts";
import { deferralHeaders, interruptionsOf } from "../../wire/codec.ts";
import { type Republisher, sameAttempt } from "./republisher.ts";
import type { VersionSurvey } from "./version_survey.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import type { ServedQueue } from "../request/served_queue.ts";
import { isDispatchError } from "../dispatch/handler_result.ts";

/** Times that a request goes back. */
const MOST = 20;
/** Milliseconds before it is in its queue again: a short time at first, since most find another worker soon. */
const SOON = 100;
const LATER = 1_000;
/** Times of the short one. */
const HASTY = 5;

/** Parts that a deferral needs. */
export interface DeferralParts {
  /** To put it back. */
  readonly republisher: Republisher;
  /** Knows who serves what. */
  readonly elsewhere: VersionSurvey;
  /** True on OpenStack's bus, which has no such queue. */
  readonly openstack: boolean;
}

/** Gives requests to workers that serve their versions. */
export class VersionDeferral {
  readonly #parts: DeferralParts;

  /** Of its parts. */
  constructor(parts: DeferralParts) {
    this.#parts = parts;
  }

  /** True if the request has gone back; false if what was thrown is its end. */
  async take(
    incoming: IncomingRequest,
    error: unknown,
    served: ServedQueue,
  ): Promise<boolean> {
    const { queue, addressee } = served;
    const refused = error instanceof UnsupportedVersionError &&
      isDispatchError(error);
    const { openstack, elsewhere } = this.#parts;
    if (!refused || !queue || openstack || isDone(incoming)) return false;
    const { deferred = 0, version = "1.0", namespace } = incoming.request;
    const ms = deferred < HASTY ? SOON : LATER;
    if (deferred >= MOST || leftOf(incoming) <= ms) return false;
    const wanted = { addressee, queue: queueName(queue), version, namespace };
    if (!(await elsewhere.serves(wanted)) || isDone(incoming)) return false;
    return await this.#send(incoming, served, deferred + 1, ms);
  }

  /** False if the broker did not take it. */
  async #send(
    incoming: IncomingRequest,
    { queue, quarantined, quarantine }: ServedQueue,
    times: number,
    ms: number,
  ): Promise<boolean> {
    if (!queue) return false;
    const { republisher } = this.#parts;
    try {
      // What others did not finish stays apart from what is well: it waits here, and takes no other's place.
      const apart = quarantined ? quarantine : undefined;
      const wait = { at: Infinity, signal: incoming.signal };
      if (apart) await delay(ms, wait);
      const left = leftOf(incoming);
      if (isDone(incoming) || left <= ms) return false;
      // A worker counts from when a message comes: the wait in the queue is taken off before.
      const copy = copyFor(incoming, times, { left, waits: apart ? 0 : ms });
      await republisher.send(apart ?? { kind: "delay", of: queue, ms }, copy);
      incoming.passOn();
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

/** True if nobody waits for it here any more, or it is in its queue. */
function isDone({ over, settled, abandoned }: IncomingRequest): boolean {
  return over || settled || abandoned;
}

/** Milliseconds until its sender gives up. What it waited in its queue before it came here is known only of a copy. */
function leftOf(
  { deadline, arrived, message, request }: IncomingRequest,
): number {
  const now = performance.now();
  const { expiration = Infinity } = message;
  const { expires = Infinity } = request;
  const stamped = expires - Date.now();
  return Math.min(deadline - now, arrived + expiration - now, stamped);
}

/** In the same attempt, with the time that is left: its expiration would be lost in the queue where it waits. */
function copyFor(
  { message, request: { timeout, reply } }: IncomingRequest,
  times: number,
  { left, waits }: { readonly left: number; readonly waits: number },
): Message {
  const rest = Math.round(left - waits);
  const { expiration: _, ...before } = message;
  const copy = sameAttempt(before, interruptionsOf(message.headers));
  const headers = {
    ...copy.headers,
    ...deferralHeaders(times, {
      expires: left === Infinity ? undefined : Date.now() + waits + rest,
      timeout: reply && timeout !== undefined ? rest : undefined,
    }),
  };
  return { ...copy, headers };
}

/** Failed casts: they are retried after a delay, or dead-lettered. A cast is acknowledged only after the broker has its copy. @module */
import type { Disposition } from "../server_stats.ts";
import { redactText } from "../../redaction.ts";
import { logger, oneLine } from "../../logging.ts";
import { type QueueAddress, queueName } from "../../transport/address.ts";
import { deadLetterHeaders, retryHeaders } from "../../wire/mod.ts";
import { waitOutsidePrefetch } from "../request/outside_prefetch.ts";
import { isContentError } from "../../transport/content_errors.ts";
import { newAttempt, type Republisher } from "./republisher.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import { isDispatchError } from "../dispatch/handler_result.ts";
import { nextDelay } from "../../contract/retry_policy.ts";

/** Retries and dead-letters the failed casts of one server. */
export class CastFailures {
  readonly #republisher: Republisher;
  readonly #openstack: boolean;

  /** `republisher` sends the copies. With `openstack`, only casts of procedures with a retry policy become dead letters. */
  constructor(republisher: Republisher, openstack: boolean) {
    this.#republisher = republisher;
    this.#openstack = openstack;
  }

  /** Handles a cast whose handler threw, or that the dispatcher rejected; `queue` is undefined for a fanout. */
  async failed(
    incoming: IncomingRequest,
    error: unknown,
    queue?: QueueAddress,
  ): Promise<Disposition> {
    const { attempt } = incoming;
    const rejected = isDispatchError(error);
    const ms = rejected
      ? undefined
      : nextDelay(attempt, incoming.procedure?.retry);
    const stored = incoming.procedure?.retry !== undefined ||
      !this.#openstack;
    if (!queue || !stored || !incoming.settlement.open) return "dropped";
    if (ms === undefined) {
      return await this.#deadLetter(incoming, queue, reasonOf(error));
    }
    const copy = newAttempt(
      incoming.message,
      retryHeaders(attempt + 1, expiresOf(incoming)),
    );
    try {
      await this.#republisher.send({ kind: "delay", of: queue, ms }, copy);
      return "retried";
    } catch (error) {
      if (isContentError(error)) {
        return await this.#deadLetter(incoming, queue, reasonOf(error));
      }
      return await this.#requeueLater(incoming, error);
    }
  }

  /** Handles a cast that has expired before its next attempt. */
  async expired(
    incoming: IncomingRequest,
    queue?: QueueAddress,
  ): Promise<Disposition> {
    const stored = incoming.attempt > 1 || !this.#openstack; // an attempt after the first implies a retry policy
    if (!queue || !stored || !incoming.settlement.open) return "dropped";
    return await this.#deadLetter(
      incoming,
      queue,
      "Expired before its next attempt",
      1,
    );
  }

  /** Handles a cast that too many workers did not finish. */
  async interrupted(
    incoming: IncomingRequest,
    reason: string,
    queue?: QueueAddress,
  ): Promise<Disposition> {
    if (!queue || !incoming.settlement.open) return "dropped";
    return await this.#deadLetter(incoming, queue, reason);
  }

  /** Dead-letters a cast; `skipped` is the number of its remaining attempts, which are not made. */
  async #deadLetter(
    incoming: IncomingRequest,
    queue: QueueAddress,
    reason: string,
    skipped = 0,
  ): Promise<Disposition> {
    const attempts = incoming.attempt - skipped;
    const deadLetterCount = (incoming.request.deadLetterCount ?? 0) + 1;
    const failed = {
      attempts,
      deadLetterCount,
      reason,
      queue: queueName(queue),
    };
    const headers = deadLetterHeaders(failed);
    try {
      return await this.#republisher.deadLetter(
          queue,
          incoming.message,
          headers,
        )
        ? "deadLettered"
        : "dropped";
    } catch (error) {
      return await this.#requeueLater(incoming, error);
    }
  }

  /** Requeues a cast after a pause, because the broker did not confirm its copy. */
  async #requeueLater(
    incoming: IncomingRequest,
    error: unknown,
  ): Promise<Disposition> {
    if (!incoming.settlement.abandoned) await this.backOff(incoming, error);
    return "requeued";
  }

  /** Pauses before a cast is requeued. The pause ends when the worker stops. */
  async backOff(incoming: IncomingRequest, error: unknown): Promise<void> {
    logger("rpc").error(
      "A cast that failed goes back into its queue: {error}",
      {
        error,
      },
    );
    await waitOutsidePrefetch(
      incoming,
      incoming.signal,
      (signal) => this.#republisher.backOff(signal),
    );
  }
}

/**
 * Formats a thrown value as one line, with secrets redacted. The value may be anything, even an object that throws when
 * it is read.
 */
export function reasonOf(thrown: unknown): string {
  try {
    const text = thrown instanceof Error
      ? `${thrown.name}: ${thrown.message}`
      : `thrown: ${thrown}`;
    return oneLine(redactText(text));
  } catch {
    return "thrown: what cannot be read";
  }
}

/**
 * Expiration for the next attempt, in epoch milliseconds. On the first attempt it counts from now, because AMQP does
 * not contain the time that the message has waited in its queue.
 */
function expiresOf(
  { request, message: { expiration } }: IncomingRequest,
): number | undefined {
  if (request.expires !== undefined) return request.expires;
  return expiration === undefined ? undefined : Date.now() + expiration;
}

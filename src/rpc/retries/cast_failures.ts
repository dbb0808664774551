/** Failed casts: they are retried after a delay, or dead-lettered. A cast is acknowledged only after the broker has its copy. @module */
import type { Disposition } from "../server_stats.ts";
import { redactText } from "../../redaction.ts";
import { logger, oneLine } from "../../logging.ts";
import type { QueueAddress } from "../../transport/address.ts";
import { retryHeaders } from "../../wire/mod.ts";
import { waitOutsidePrefetch } from "../request/outside_prefetch.ts";
import { isContentError } from "../../transport/content_errors.ts";
import { DeadLetterSender, type FailedMessage } from "./dead_letter_sender.ts";
import { newAttempt, type Republisher } from "./republisher.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import { isDispatchError } from "../dispatch/handler_result.ts";
import { nextDelay } from "../../contract/retry_policy.ts";

/** Retries and dead-letters the failed casts of one server. */
export class CastFailures {
  readonly #republisher: Republisher;
  readonly #openstack: boolean;
  readonly #deadLetters: DeadLetterSender;

  /** `republisher` sends the copies. With `openstack`, only casts of procedures with a retry policy become dead letters. */
  constructor(
    republisher: Republisher,
    openstack: boolean,
    deadLetters: DeadLetterSender = new DeadLetterSender(republisher),
  ) {
    this.#republisher = republisher;
    this.#openstack = openstack;
    this.#deadLetters = deadLetters;
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
    const failed = { attempts: attempt, reason: reasonOf(error), error };
    if (ms === undefined) {
      return await this.#deadLetter(incoming, queue, failed);
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
        return await this.#deadLetter(incoming, queue, failed);
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
    return await this.#deadLetter(incoming, queue, {
      attempts: incoming.attempt - 1, // this one is not made
      reason: "Expired before its next attempt",
    });
  }

  /** Handles a cast that too many workers did not finish. */
  async interrupted(
    incoming: IncomingRequest,
    reason: string,
    queue?: QueueAddress,
  ): Promise<Disposition> {
    if (!queue || !incoming.settlement.open) return "dropped";
    const attempts = incoming.attempt;
    return await this.#deadLetter(incoming, queue, { attempts, reason });
  }

  /** Dead-letters a cast that an operator cancelled, also if this worker has abandoned it. */
  async cancelled(
    incoming: IncomingRequest,
    reason: string,
    queue: QueueAddress,
  ): Promise<Disposition> {
    const attempts = incoming.attempt;
    return await this.#deadLetter(incoming, queue, { attempts, reason });
  }

  async #deadLetter(
    incoming: IncomingRequest,
    queue: QueueAddress,
    failed: Omit<FailedMessage, "message">,
  ): Promise<Disposition> {
    const { message } = incoming;
    try {
      return await this.#deadLetters.send(queue, { message, ...failed })
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

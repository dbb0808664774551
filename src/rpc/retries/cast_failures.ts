/** Casts that failed: tried again later, or kept as dead letters. Nothing is acknowledged before the broker has the copy. @module */
import type { Disposition } from "../server_stats.ts";
import { redactText } from "../../redaction.ts";
import { logger, oneLine } from "../../logging.ts";
import { type QueueAddress, queueName } from "../../transport/address.ts";
import { deadLetterHeaders, retryHeaders } from "../../wire/codec.ts";
import { aside } from "../request/waiting_aside.ts";
import { isContent, newAttempt, type Republisher } from "./republisher.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import { isDispatchError } from "../dispatch/handler_result.ts";
import { nextDelay } from "../../contract/retry_policy.ts";

/** What taking care of failed casts needs. */
export interface FailedCastsParts {
  /** To keep it. */
  readonly republisher: Republisher;
  /** Whether the bus is OpenStack's: there only procedures with a policy have dead letters. */
  readonly openstack: boolean;
}

/** Takes care of the casts of one context. */
export class CastFailures {
  readonly #parts: FailedCastsParts;

  /** Of its parts. */
  constructor(parts: FailedCastsParts) {
    this.#parts = parts;
  }

  /** A handler threw, or the dispatcher refused it; `queue` is undefined where all workers get a copy. */
  async failed(
    incoming: IncomingRequest,
    error: unknown,
    queue?: QueueAddress,
  ): Promise<Disposition> {
    const { attempt } = incoming.context;
    const refused = isDispatchError(error);
    const ms = refused
      ? undefined
      : nextDelay(attempt, incoming.procedure?.retry);
    const kept = incoming.procedure?.retry !== undefined ||
      !this.#parts.openstack;
    if (!queue || !kept || !waits(incoming)) return "dropped";
    if (ms === undefined) {
      return await this.#deadLetter(incoming, queue, reasonOf(error));
    }
    const copy = newAttempt(
      incoming.message,
      retryHeaders(attempt + 1, expiresOf(incoming)),
    );
    try {
      await this.#parts.republisher.send(
        { kind: "delay", of: queue, ms },
        copy,
      );
      return "again";
    } catch (error) {
      if (isContent(error)) {
        return await this.#deadLetter(incoming, queue, reasonOf(error));
      }
      return await this.#notCopied(incoming, error);
    }
  }

  /** Its sender would have it dropped by now. */
  async expired(
    incoming: IncomingRequest,
    queue?: QueueAddress,
  ): Promise<Disposition> {
    const kept = incoming.context.attempt > 1 || !this.#parts.openstack; // another attempt comes of a policy
    if (!queue || !kept || !waits(incoming)) return "dropped";
    return await this.#deadLetter(
      incoming,
      queue,
      "Expired before its next attempt",
      1,
    );
  }

  /** No worker finished it, and no other is to try. */
  async interrupted(
    incoming: IncomingRequest,
    reason: string,
    queue?: QueueAddress,
  ): Promise<Disposition> {
    if (!queue || !waits(incoming)) return "dropped";
    return await this.#deadLetter(incoming, queue, reason);
  }

  /** `spared`: how many of its attempts there have not been. */
  async #deadLetter(
    incoming: IncomingRequest,
    queue: QueueAddress,
    reason: string,
    spared = 0,
  ): Promise<Disposition> {
    const attempts = incoming.context.attempt - spared;
    const deadLetterCount = (incoming.request.deadLetterCount ?? 0) + 1;
    const failed = {
      attempts,
      deadLetterCount,
      reason,
      queue: queueName(queue),
    };
    const headers = deadLetterHeaders(failed);
    try {
      const { republisher } = this.#parts;
      return await republisher.deadLetter(queue, incoming.message, headers)
        ? "dead"
        : "dropped";
    } catch (error) {
      return await this.#notCopied(incoming, error);
    }
  }

  /** The broker did not take the copy: the message goes back into its queue. */
  async #notCopied(
    incoming: IncomingRequest,
    error: unknown,
  ): Promise<Disposition> {
    if (!incoming.abandoned) await this.backOff(incoming, error);
    return "back";
  }

  /** The wait before it goes back into its queue; none if the worker stops. */
  async backOff(incoming: IncomingRequest, error: unknown): Promise<void> {
    logger("rpc").error(
      "A cast that failed goes back into its queue: {error}",
      {
        error,
      },
    );
    const { republisher } = this.#parts;
    await aside(
      incoming,
      incoming.signal,
      (signal) => republisher.backOff(signal),
    );
  }
}

/** False if its queue has it again, or it needs none. */
function waits({ settled, abandoned }: IncomingRequest): boolean {
  return !settled && !abandoned;
}

/** What was thrown, in one line, without what looks like a secret; anything can be thrown. */
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

/** The first worker that fails counts from when it has the message: how long that waited before is not known. */
function expiresOf(
  { request, message: { expiration } }: IncomingRequest,
): number | undefined {
  if (request.expires !== undefined) return request.expires;
  return expiration === undefined ? undefined : Date.now() + expiration;
}

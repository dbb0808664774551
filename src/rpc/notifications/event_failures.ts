/** Events whose handler threw: retried after a delay, then dead-lettered, in the same way as casts. @module */
import { delay } from "../../async/deadline.ts";
import { logger, oneLine } from "../../logging.ts";
import type { EventAddress } from "../../transport/address.ts";
import type { Delivery } from "../../transport/transport.ts";
import { retryHeaders } from "../../wire/mod.ts";
import type { RetryPolicy } from "../../contract/types.ts";
import { waitOutsidePrefetch } from "../request/outside_prefetch.ts";
import { DeadLetterSender } from "../retries/dead_letter_sender.ts";
import { newAttempt, type Republisher } from "../retries/republisher.ts";
import { reasonOf } from "../retries/cast_failures.ts";
import { nextDelay, retryPolicyError } from "../../contract/retry_policy.ts";
import { InvalidValueError } from "../../errors.ts";

/** Maximum milliseconds before a retry of an event that has no queue to wait in. */
const MAX_RETRY_DELAY_MS = 1_000;

/** Default retry policy of events. */
const DEFAULT_RETRY: RetryPolicy = { attempts: 6 };

// Stored beside the errors and not in them, so that interceptors see plain errors.
const refusals = new WeakSet<Error>();

/** Marks an error of an event that no further attempt can handle. */
export function markRefused(error: Error): void {
  refusals.add(error);
}

/** True for a marked error. */
export function isRefused(error: unknown): error is Error {
  return error instanceof Error && refusals.has(error);
}

/**
 * Outcome of a failed attempt at an event: it is handled again here at once, later from its delay queue, or from its queue;
 * it is a dead letter; or it is dropped.
 */
export type EventOutcome =
  | "again"
  | "retried"
  | "requeued"
  | "deadLettered"
  | "dropped";

/** Settings for the failed events of one queue. */
export interface EventFailureOptions {
  /** Queue of the listener. */
  readonly queue: EventAddress;
  /** True if the bus is OpenStack's, where an event is requeued until it is handled. */
  readonly openstack: boolean;
  /** Number of attempts, and the delays between them. */
  readonly retry?: RetryPolicy | undefined;
}

/** Retries or dead-letters the failed events of one queue. */
export class EventFailures {
  readonly #republisher: Republisher;
  readonly #options: EventFailureOptions;
  readonly #deadLetters: DeadLetterSender;

  /** `republisher` sends the copies that wait for another attempt. */
  constructor(
    republisher: Republisher,
    options: EventFailureOptions,
    deadLetters: DeadLetterSender = new DeadLetterSender(republisher),
  ) {
    this.#republisher = republisher;
    this.#options = options;
    this.#deadLetters = deadLetters;
  }

  /** True for an attempt after which the event is not handled again if the handler throws. */
  isLast(attempt: number): boolean {
    const { openstack, retry = DEFAULT_RETRY } = this.#options;
    return !openstack && nextDelay(attempt, retry) === undefined;
  }

  /** Handles a failed attempt. Unless the handler has to run again here, the event is settled then. Never rejects. */
  async failed(
    delivery: Delivery,
    error: unknown,
    attempt: number,
    signal: AbortSignal,
  ): Promise<EventOutcome> {
    const { queue, openstack, retry = DEFAULT_RETRY } = this.#options;
    if (openstack) return await requeue(delivery, signal), "requeued";
    const ms = nextDelay(attempt, retry);
    if (queue.exclusive) return await waitInPlace(delivery, ms, signal);
    if (ms === undefined) {
      return await this.#deadLetter(delivery, error, attempt, signal);
    }
    const copy = newAttempt(delivery.message, retryHeaders(attempt + 1));
    const address = { kind: "delay", of: queue, ms } as const;
    const send = () => this.#republisher.send(address, copy);
    return await this.#send(delivery, send, signal) ? "retried" : "requeued";
  }

  /**
   * Dead-letters a message that is not a valid event; drops it if there is no dead-letter queue, or the bus is
   * OpenStack's. Never rejects.
   */
  async refused(
    delivery: Delivery,
    reason: string,
    signal: AbortSignal,
  ): Promise<EventOutcome> {
    const { queue, openstack } = this.#options;
    if (openstack || queue.exclusive) return delivery.reject(false), "dropped";
    return await this.#deadLetter(delivery, `Refused: ${reason}`, 0, signal);
  }

  async #deadLetter(
    delivery: Delivery,
    error: unknown,
    attempts: number,
    signal: AbortSignal,
  ): Promise<EventOutcome> {
    const { queue } = this.#options;
    const reason = typeof error === "string" ? oneLine(error) : reasonOf(error);
    const failed = { message: delivery.message, attempts, reason, error };
    const send = () => this.#deadLetters.send(queue, failed);
    const isSent = await this.#send(delivery, send, signal);
    return isSent ? "deadLettered" : "requeued";
  }

  /**
   * Sends a copy of the event, and acknowledges the event when the broker has confirmed the copy. If that fails,
   * requeues the event after a pause, and resolves to false.
   */
  async #send(
    delivery: Delivery,
    send: () => Promise<unknown>,
    signal: AbortSignal,
  ): Promise<boolean> {
    try {
      await send();
      delivery.ack();
      return true;
    } catch (error) {
      logger("rpc").error(
        "An event that failed goes back into its queue: {error}",
        {
          error,
        },
      );
      await waitOutsidePrefetch(
        delivery,
        signal,
        (signal) => this.#republisher.backOff(signal),
      );
      delivery.reject(true);
      return false;
    }
  }
}

/**
 * Waits for the next attempt while the event stays unacknowledged, because an exclusive queue, and with it the event,
 * is deleted with its listener. After the last attempt the event is dropped.
 */
async function waitInPlace(
  delivery: Delivery,
  ms: number | undefined,
  signal: AbortSignal,
): Promise<EventOutcome> {
  if (ms === undefined) {
    logger("rpc").error("An event of {key} is dropped after its last attempt", {
      key: oneLine(delivery.key, 60),
    });
    delivery.ack();
    return "dropped";
  }
  const wait = { at: Infinity, signal };
  await delay(Math.min(ms, MAX_RETRY_DELAY_MS), wait).catch(() => {});
  if (!signal.aborted) return "again";
  delivery.reject(true);
  return "requeued";
}

/** Requeues an event; an event that was redelivered already waits first. */
export async function requeue(
  delivery: Delivery,
  signal: AbortSignal,
): Promise<void> {
  if (delivery.redelivered) {
    const deadline = Infinity;
    await waitOutsidePrefetch(
      delivery,
      signal,
      (signal) => delay(MAX_RETRY_DELAY_MS, { at: deadline, signal }),
    )
      .catch(() => {});
  }
  delivery.reject(true);
}

/**
 * Checks the retry policy of a listener.
 *
 * @throws {InvalidValueError} the policy is invalid; the message names the member.
 */
export function checkRetry(retry: RetryPolicy | undefined): void {
  const wrong = retryPolicyError({ retry });
  if (wrong === undefined) return;
  throw new InvalidValueError(`Invalid option retry${wrong}`, {
    data: { path: "retry" },
  });
}

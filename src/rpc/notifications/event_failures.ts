/** Events whose handler threw: another attempt later, then a dead letter, as of casts. @module */
import { delay } from "../../async/deadline.ts";
import { logger, oneLine } from "../../logging.ts";
import { type EventAddress, queueName } from "../../transport/address.ts";
import type { Delivery } from "../../transport/transport.ts";
import {
  deadLetterCountOf,
  deadLetterHeaders,
  retryHeaders,
} from "../../wire/mod.ts";
import type { RetryPolicy } from "../../contract/types.ts";
import { aside } from "../request/waiting_aside.ts";
import { newAttempt, type Republisher } from "../retries/republisher.ts";
import { reasonOf } from "../retries/cast_failures.ts";
import { nextDelay } from "../../contract/retry_policy.ts";

/** Milliseconds at most before another attempt at an event that has no queue to wait in. */
const MAX_RETRY_DELAY_MS = 1_000;

/** Attempts at an event whose listener names none. */
const DEFAULT_RETRY: RetryPolicy = { attempts: 6 };

/** Treatment of the failed events of one queue. */
export interface EventFailureOptions {
  /** Queue of the listener. */
  readonly queue: EventAddress;
  /** True if the bus is OpenStack's, where an event is requeued until it is handled. */
  readonly openstack: boolean;
  /** Number of attempts, and the waits between them. */
  readonly retry?: RetryPolicy | undefined;
}

/** Retries or dead-letters the failed events of one queue. */
export class EventFailures {
  readonly #republisher: Republisher;
  readonly #options: EventFailureOptions;

  /** The republisher makes the copies that wait for another attempt, and the dead letters. */
  constructor(republisher: Republisher, options: EventFailureOptions) {
    this.#republisher = republisher;
    this.#options = options;
  }

  /** Resolves to true if the handler is to run again here; else the event is acknowledged or requeued. Never rejects. */
  async failed(
    delivery: Delivery,
    error: unknown,
    attempt: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { queue, openstack, retry = DEFAULT_RETRY } = this.#options;
    if (openstack) return await requeue(delivery, signal), false;
    const ms = nextDelay(attempt, retry);
    if (queue.exclusive) return await waitInPlace(delivery, ms, signal);
    if (ms === undefined) {
      await this.#deadLetter(delivery, error, attempt, signal);
    } else {
      const copy = newAttempt(delivery.message, retryHeaders(attempt + 1));
      const address = { kind: "delay", of: queue, ms } as const;
      const send = () => this.#republisher.send(address, copy);
      await this.#send(delivery, send, signal);
    }
    return false;
  }

  /** Dead-letters a message that is no event as it came; drops it where there are no dead letters. Never rejects. */
  async refused(
    delivery: Delivery,
    reason: string,
    signal: AbortSignal,
  ): Promise<void> {
    const { queue, openstack } = this.#options;
    if (openstack || queue.exclusive) return delivery.reject(false);
    await this.#deadLetter(delivery, `Refused: ${reason}`, 0, signal);
  }

  async #deadLetter(
    delivery: Delivery,
    error: unknown,
    attempts: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { queue } = this.#options;
    const reason = typeof error === "string" ? oneLine(error) : reasonOf(error);
    const deadLetterCount = deadLetterCountOf(delivery.message.headers) + 1;
    const said = { attempts, deadLetterCount, reason, queue: queueName(queue) };
    const headers = deadLetterHeaders(said);
    const send = () =>
      this.#republisher.deadLetter(queue, delivery.message, headers);
    await this.#send(delivery, send, signal);
  }

  /** Acknowledges the event once the broker has the copy; if that fails, the event is requeued after a pause. */
  async #send(
    delivery: Delivery,
    send: () => Promise<unknown>,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await send();
      delivery.ack();
    } catch (error) {
      logger("rpc").error(
        "An event that failed goes back into its queue: {error}",
        {
          error,
        },
      );
      await aside(
        delivery,
        signal,
        (signal) => this.#republisher.backOff(signal),
      );
      delivery.reject(true);
    }
  }
}

/**
 * Waits for another attempt without a queue, since an exclusive queue is gone with its listener. After the last attempt the
 * event is dropped.
 */
async function waitInPlace(
  delivery: Delivery,
  ms: number | undefined,
  signal: AbortSignal,
): Promise<boolean> {
  if (ms === undefined) {
    logger("rpc").error("An event of {key} is dropped after its last attempt", {
      key: oneLine(delivery.key, 60),
    });
    delivery.ack();
    return false;
  }
  const wait = { at: Infinity, signal };
  await delay(Math.min(ms, MAX_RETRY_DELAY_MS), wait).catch(() => {});
  if (signal.aborted) delivery.reject(true);
  return !signal.aborted;
}

/** Puts an event back into its queue; one that was redelivered already waits before. */
export async function requeue(
  delivery: Delivery,
  signal: AbortSignal,
): Promise<void> {
  if (delivery.redelivered) {
    const deadline = Infinity;
    await aside(
      delivery,
      signal,
      (signal) => delay(MAX_RETRY_DELAY_MS, { at: deadline, signal }),
    )
      .catch(() => {});
  }
  delivery.reject(true);
}

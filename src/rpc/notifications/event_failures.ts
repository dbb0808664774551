/** Events whose handler threw: tried again later, then kept as dead letters, as casts are. @module */
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

/** Milliseconds before an event comes again that has no queue to wait in, at most. */
const RETRY = 1_000;

/** Attempts of a listener that names none. */
const ATTEMPTS: RetryPolicy = { attempts: 6 };

/** Parts that the care of failed events needs. */
export interface FailedEventsParts {
  /** To keep them. */
  readonly republisher: Republisher;
  /** The queue of the listener. */
  readonly queue: EventAddress;
  /** True on OpenStack's bus, where an event comes again until it is handled. */
  readonly openstack: boolean;
  /** Number of attempts, and the waits between them. */
  readonly retry?: RetryPolicy | undefined;
}

/** Takes care of the failed events of one queue. */
export class EventFailures {
  readonly #parts: FailedEventsParts;

  /** Of its parts. */
  constructor(parts: FailedEventsParts) {
    this.#parts = parts;
  }

  /** Resolves to true if the handler is to run again here; else the event is taken care of. Never rejects. */
  async failed(
    delivery: Delivery,
    error: unknown,
    attempt: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { queue, openstack, retry = ATTEMPTS } = this.#parts;
    if (openstack) return await again(delivery, signal), false;
    const ms = nextDelay(attempt, retry);
    if (queue.exclusive) return await here(delivery, ms, signal);
    if (ms === undefined) await this.#bury(delivery, error, attempt, signal);
    else {
      const copy = newAttempt(delivery.message, retryHeaders(attempt + 1));
      const route = { kind: "delay", of: queue, ms } as const;
      const { republisher } = this.#parts;
      await this.#send(delivery, () => republisher.send(route, copy), signal);
    }
    return false;
  }

  /** A message that is no event is kept as it came; dropped where there is no dead letter. Never rejects. */
  async refused(
    delivery: Delivery,
    reason: string,
    signal: AbortSignal,
  ): Promise<void> {
    const { queue, openstack } = this.#parts;
    if (openstack || queue.exclusive) return delivery.reject(false);
    await this.#bury(delivery, `Refused: ${reason}`, 0, signal);
  }

  async #bury(
    delivery: Delivery,
    error: unknown,
    attempts: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { queue } = this.#parts;
    const reason = typeof error === "string" ? oneLine(error) : reasonOf(error);
    const deadLetterCount = deadLetterCountOf(delivery.message.headers) + 1;
    const said = { attempts, deadLetterCount, reason, queue: queueName(queue) };
    const { republisher } = this.#parts;
    await this.#send(
      delivery,
      () =>
        republisher.deadLetter(
          queue,
          delivery.message,
          deadLetterHeaders(said),
        ),
      signal,
    );
  }

  /** Acknowledged once the broker has the copy; without it the event goes back, after a while. */
  async #send(
    delivery: Delivery,
    send: () => Promise<unknown>,
    signal: AbortSignal,
  ): Promise<void> {
    const { republisher } = this.#parts;
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
      await aside(delivery, signal, (signal) => republisher.backOff(signal));
      delivery.reject(true);
    }
  }
}

/** An exclusive queue goes with its listener: nothing is kept beside it, and what cannot be handled is dropped. */
async function here(
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
  await delay(Math.min(ms, RETRY), wait).catch(() => {});
  if (signal.aborted) delivery.reject(true);
  return !signal.aborted;
}

/** Back into its queue, but not at once a second time. */
export async function again(
  delivery: Delivery,
  signal: AbortSignal,
): Promise<void> {
  if (delivery.redelivered) {
    const deadline = Infinity;
    await aside(
      delivery,
      signal,
      (signal) => delay(RETRY, { at: deadline, signal }),
    )
      .catch(() => {});
  }
  delivery.reject(true);
}

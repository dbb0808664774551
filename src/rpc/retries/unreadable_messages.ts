/** Unreadable messages: their senders are told, or they are dead-lettered. @module */
import { logger, oneLine } from "../../logging.ts";
import { type QueueAddress, queueName } from "../../transport/address.ts";
import type { Delivery } from "../../transport/transport.ts";
import {
  deadLetterCountOf,
  deadLetterHeaders,
  type ReplyAddress,
} from "../../wire/mod.ts";
import { aside } from "../request/waiting_aside.ts";
import type { UnreadableMessage } from "../request/request_reader.ts";
import type { Republisher } from "./republisher.ts";
import type { Disposition } from "../server_stats.ts";
import type { Responder } from "../replies/responder.ts";

/** Replies to senders that are pending while their messages are acknowledged already; beyond it, each message waits for its reply. */
const MAX_PENDING_REPLIES = 1_000;

/** Rejects the unreadable messages of one server. */
export class UnreadableMessages {
  readonly #responder: Responder;
  readonly #republisher: Republisher;
  readonly #pending = new Set<Promise<void>>();
  readonly #stopping = new AbortController();

  /** Senders are told by `responder`, dead letters kept by `republisher`. */
  constructor(responder: Responder, republisher: Republisher) {
    this.#responder = responder;
    this.#republisher = republisher;
  }

  /** Settles for each message that is not dealt with yet. */
  get pending(): ReadonlySet<Promise<void>> {
    return this.#pending;
  }

  /** Ends all pauses: messages that could not be dead-lettered go back to their queues at once. */
  stop(): void {
    this.#stopping.abort();
  }

  /** Replies to the sender if the message tells where; else dead-letters the message of `queue`, or drops it without one. Never throws. */
  reject(
    delivery: Delivery,
    refused: UnreadableMessage,
    queue: QueueAddress | undefined,
    done: (disposition: Disposition) => void,
  ): void {
    const { reason } = refused;
    logger("rpc").warn("Refused a message for {key}: {reason}", {
      key: oneLine(delivery.key, 60),
      reason: oneLine(reason),
    });
    const replied = this.#reply(delivery, refused);
    if (!queue) {
      delivery.reject(false); // dropped, or dead-lettered where the broker's policy says so
      return done("dropped");
    }
    // A reply that finds no queue must not take a place in the prefetch, unless there are too many of them.
    const few = this.#pending.size < MAX_PENDING_REPLIES;
    if (replied && few) delivery.ack();
    const settled = replied?.then(() => delivery.ack()) ??
      this.#deadLetter(delivery, reason, queue).then(done);
    const work: Promise<void> = settled.finally(() =>
      this.#pending.delete(work)
    );
    this.#pending.add(work);
  }

  /** Undefined if the sender waits for no reply. */
  #reply(
    delivery: Delivery,
    { reason, dialect, reply = replyAddressOf(delivery), warren }:
      UnreadableMessage,
  ): Promise<void> | undefined {
    if (!dialect || !reply) return undefined;
    return this.#responder.reject({ reply, dialect, warren }, reason)
      .catch((error) =>
        logger("rpc").info("A refusal was not told: {error}", {
          error,
        })
      );
  }

  /** Dead-letters the message as it is. Where that fails, it goes back into its queue after a pause. */
  async #deadLetter(
    delivery: Delivery,
    rejectReason: string,
    queue: QueueAddress,
  ): Promise<Disposition> {
    const { message } = delivery;
    const reason = oneLine(`Refused: ${rejectReason}`);
    const deadLetterCount = deadLetterCountOf(message.headers) + 1;
    const failed = {
      attempts: 0,
      deadLetterCount,
      reason,
      queue: queueName(queue),
    };
    try {
      const stored = await this.#republisher.deadLetter(
        queue,
        message,
        deadLetterHeaders(failed),
      );
      delivery.ack();
      return stored ? "deadLettered" : "dropped";
    } catch (error) {
      logger("rpc").error(
        "A refused message goes back into its queue: {error}",
        {
          error,
        },
      );
      const { signal } = this.#stopping;
      await aside(
        delivery,
        signal,
        (signal) => this.#republisher.backOff(signal),
      );
      delivery.reject(true);
      return "requeued";
    }
  }
}

/** Reply address of an unreadable message, by its properties. */
function replyAddressOf({ message }: Delivery): ReplyAddress | undefined {
  const { replyTo: queue, correlationId: call } = message;
  return queue && call ? { queue, call, form: "oneMessage" } : undefined;
}

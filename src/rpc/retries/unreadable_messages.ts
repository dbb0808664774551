/** Unreadable messages: their senders get an error reply, or the messages are dead-lettered. @module */
import { logger, oneLine } from "../../logging.ts";
import type { QueueAddress } from "../../transport/address.ts";
import type { Delivery } from "../../transport/transport.ts";
import type { ReplyAddress } from "../../wire/mod.ts";
import { waitOutsidePrefetch } from "../request/outside_prefetch.ts";
import type { UnreadableMessage } from "../request/request_reader.ts";
import { DeadLetterSender } from "./dead_letter_sender.ts";
import type { Republisher } from "./republisher.ts";
import type { Disposition } from "../server_stats.ts";
import type { Responder } from "../replies/responder.ts";

/**
 * Maximum number of pending replies to senders whose messages are acknowledged already. Above it, each message is
 * acknowledged after its reply.
 */
const MAX_PENDING_REPLIES = 1_000;

/** Rejects the unreadable messages of one server. */
export class UnreadableMessages {
  readonly #responder: Responder;
  readonly #republisher: Republisher;
  readonly #deadLetters: DeadLetterSender;
  readonly #pending = new Set<Promise<void>>();
  readonly #stopping = new AbortController();

  /** `responder` replies to senders; `republisher` sends copies. */
  constructor(
    responder: Responder,
    republisher: Republisher,
    deadLetters: DeadLetterSender = new DeadLetterSender(republisher),
  ) {
    this.#responder = responder;
    this.#republisher = republisher;
    this.#deadLetters = deadLetters;
  }

  /** Promises of the messages that are being handled; each settles when its message is settled. */
  get pending(): ReadonlySet<Promise<void>> {
    return this.#pending;
  }

  /** Ends all pauses: messages that could not be dead-lettered are requeued at once. */
  stop(): void {
    this.#stopping.abort();
  }

  /**
   * Replies to the sender if the message contains its address; otherwise dead-letters the message in `queue`, or drops
   * it without a queue. Never throws.
   */
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
      delivery.reject(false); // dropped, or dead-lettered by a policy of the broker
      return done("dropped");
    }
    // A reply to a missing queue must not use up the prefetch, unless there are too many such replies.
    const isBelowLimit = this.#pending.size < MAX_PENDING_REPLIES;
    if (replied && isBelowLimit) delivery.ack();
    const settled = replied?.then(() => delivery.ack()) ??
      this.#deadLetter(delivery, reason, queue).then(done);
    const work: Promise<void> = settled.finally(() =>
      this.#pending.delete(work)
    );
    this.#pending.add(work);
  }

  /** Replies to the sender; returns undefined if the sender waits for no reply. */
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

  /** Dead-letters the message unchanged. If that fails, the message is requeued or replaced by a copy after a pause. */
  async #deadLetter(
    delivery: Delivery,
    rejectReason: string,
    queue: QueueAddress,
  ): Promise<Disposition> {
    const { message } = delivery;
    const reason = oneLine(`Refused: ${rejectReason}`);
    try {
      const failed = { message, attempts: 0, reason };
      const stored = await this.#deadLetters.send(queue, failed);
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
      await waitOutsidePrefetch(
        delivery,
        signal,
        (signal) => this.#republisher.backOff(signal),
      );
      const replaced = await this.#republisher.replace(delivery, queue);
      if (!replaced) delivery.reject(true);
      return "requeued";
    }
  }
}

/** Returns the reply address of an unreadable message, from its AMQP properties. */
function replyAddressOf({ message }: Delivery): ReplyAddress | undefined {
  const { replyTo: queue, correlationId: call } = message;
  return queue && call ? { queue, call, form: "oneMessage" } : undefined;
}

/** What arrives and is no request that can be read: answered, or kept as a dead letter. @module */
import { logger, oneLine } from "../../logging.ts";
import { type QueueAddress, queueName } from "../../transport/address.ts";
import type { Delivery } from "../../transport/transport.ts";
import {
  deadLetterCountOf,
  deadLetterHeaders,
  type DecodeError,
} from "../../wire/codec.ts";
import type { ReplyAddress } from "../../wire/rpc_message.ts";
import { aside } from "../request/waiting_aside.ts";
import type { Republisher } from "./republisher.ts";
import type { Disposition } from "../server_stats.ts";
import type { Responder } from "../replies/responder.ts";

/** What is wrong with a message, as far as that can be told. */
export type UnreadableMessage =
  & Pick<DecodeError, "reason">
  & Partial<Omit<DecodeError, "reason">>;

/** What refusing needs. */
export interface RefusalParts {
  /** To tell who sent it. */
  readonly responder: Responder;
  /** To keep it. */
  readonly republisher: Republisher;
}

/** Refusals that are being told, at most, while their messages are acknowledged already; of more, each holds its place. */
const ANSWERS = 1_000;

/** Refuses messages of one context. */
export class UnreadableMessages {
  readonly #parts: RefusalParts;
  readonly #pending = new Set<Promise<void>>();
  readonly #stopping = new AbortController();

  /** Of its parts. */
  constructor(parts: RefusalParts) {
    this.#parts = parts;
  }

  /** Messages that are not taken care of yet. */
  get pending(): ReadonlySet<Promise<void>> {
    return this.#pending;
  }

  /** What waits goes back to its queue. */
  stop(): void {
    this.#stopping.abort();
  }

  /** Tells who sent it, where it says how; else it is kept beside `queue`, or dropped without one. Never throws. */
  reject(
    delivery: Delivery,
    refused: UnreadableMessage,
    queue: QueueAddress | undefined,
    done: (fate: Disposition) => void,
  ): void {
    const { reason } = refused;
    logger("rpc").warn("Refused a message for {key}: {reason}", {
      key: oneLine(delivery.key, 60),
      reason: oneLine(reason),
    });
    const told = this.#tell(delivery, refused);
    if (!queue) {
      delivery.reject(false); // dropped, or dead-lettered where the broker's policy says so
      return done("dropped");
    }
    // An answer that finds no queue must not keep others from their turn, while there are few such answers.
    const few = this.#pending.size < ANSWERS;
    if (told && few) delivery.ack();
    const kept = told?.then(() => delivery.ack()) ??
      this.#keep(delivery, reason, queue).then(done);
    const work: Promise<void> = kept.finally(() => this.#pending.delete(work));
    this.#pending.add(work);
  }

  /** Undefined if nobody waits for an answer. */
  #tell(
    delivery: Delivery,
    { reason, dialect, reply = addressOf(delivery), warren }: UnreadableMessage,
  ): Promise<void> | undefined {
    if (!dialect || !reply) return undefined;
    return this.#parts.responder.refuse({ reply, dialect, warren }, reason)
      .catch((error) =>
        logger("rpc").info("A refusal was not told: {error}", {
          error,
        })
      );
  }

  /** As it came, whatever it is. Where it cannot be kept it goes back into its queue, after a while. */
  async #keep(
    delivery: Delivery,
    refused: string,
    queue: QueueAddress,
  ): Promise<Disposition> {
    const { message } = delivery;
    const reason = oneLine(`Refused: ${refused}`);
    const deadLetterCount = deadLetterCountOf(message.headers) + 1;
    const said = {
      attempts: 0,
      deadLetterCount,
      reason,
      queue: queueName(queue),
    };
    const { republisher } = this.#parts;
    try {
      const kept = await republisher.deadLetter(
        queue,
        message,
        deadLetterHeaders(said),
      );
      delivery.ack();
      return kept ? "dead" : "dropped";
    } catch (error) {
      logger("rpc").error(
        "A refused message goes back into its queue: {error}",
        {
          error,
        },
      );
      const { signal } = this.#stopping;
      await aside(delivery, signal, (signal) => republisher.backOff(signal));
      delivery.reject(true);
      return "back";
    }
  }
}

/** Where a message that cannot be read wants its answer, by its properties. */
function addressOf({ message }: Delivery): ReplyAddress | undefined {
  const { replyTo: queue, correlationId: call } = message;
  return queue && call ? { queue, call, form: "single" } : undefined;
}

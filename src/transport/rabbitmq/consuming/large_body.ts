/** Bodies above the limit of their consumer: their two ends, the whole body, or nothing until the next delivery. @module */
import type { BodySink, ReceivedMessage } from "../../../amqp/mod.ts";
import { isNearDeliveryLimit } from "../../delivery_limit.ts";
import {
  BodyBudget,
  bodyBudget,
  BodyEdges,
  type BodyLimit,
  type PostponedDelivery,
} from "../../oversized_body.ts";
import type { Message } from "../../transport.ts";
import { deliveryCountOf } from "./deliveries.ts";
import { oversizedMessage } from "./rabbit_message.ts";

/** Semaphore for one more body: of a message that was requeued so often that the broker might drop it. */
const lastBudget = new BodyBudget();

/**
 * Part of an oversized body that is in memory: the two ends; the whole body, if the semaphore was free; or nothing,
 * until the message is delivered again.
 */
export type KeptPart = "ends" | "whole" | "later";

/** Receives the body of one message. */
export class LargeBody implements BodySink {
  /** Part of the body that is kept. */
  readonly kept: KeptPart;
  readonly #budget: BodyBudget;
  readonly #whole: Uint8Array | undefined;
  readonly #edges: BodyEdges;
  #received = 0;

  /** Decides which part of the body is kept, before the body arrives. */
  constructor(
    { bodySize, replyTo, correlationId, headers }: ReceivedMessage,
    { allowWhole }: BodyLimit,
  ) {
    const deliveryCount = deliveryCountOf(headers);
    this.#budget = isNearDeliveryLimit({ deliveryCount })
      ? lastBudget
      : bodyBudget;
    const asks = replyTo !== undefined && correlationId !== undefined;
    this.kept = asks || !allowWhole
      ? "ends"
      : this.#budget.tryAcquire()
      ? "whole"
      : "later";
    this.#whole = this.kept === "whole" ? new Uint8Array(bodySize) : undefined;
    this.#edges = new BodyEdges(this.kept === "ends" ? bodySize : 0);
  }

  /** Adds a part. */
  write(part: Uint8Array): void {
    if (this.#whole) this.#whole.set(part, this.#received);
    else this.#edges.add(part);
    this.#received += part.length;
  }

  /** Releases the semaphore, because the channel was closed. */
  abort(): void {
    this.release();
  }

  /** Releases the semaphore, if the whole body was kept. */
  release(): void {
    if (this.#whole) this.#budget.release();
  }

  /** Requeues the message of this body once there is room for the body. */
  postpone(message: PostponedDelivery): void {
    this.#budget.postpone(message);
  }

  /** Returns the message with the part of its body that is kept. */
  messageOf(received: ReceivedMessage): Message {
    return oversizedMessage(received, this.#whole ?? this.#edges.bytes);
  }
}

/** Answers to one caller that are ready in the same turn of the event loop: one message for all of them. @module */
import process from "node:process";
import { direct } from "../../transport/address.ts";
import type { Message, Session } from "../../transport/transport.ts";
import { type Limits, ReplyBatch } from "../../wire/codec.ts";
import { newId } from "../../ids.ts";

/** Milliseconds between the deadlines in a batch at most: it is settled by the last of them. */
const SEPARATE_BYTES = 100;

/** What goes to one queue. */
class OpenBatch {
  readonly batch: ReplyBatch<Message> = new ReplyBatch();
  readonly sent: PromiseWithResolvers<void> = Promise.withResolvers();
  #first = Infinity;
  /** When it is to be settled. */
  deadline = -Infinity;

  /** False if the message does not go with those that are there. */
  add(message: Message, deadline: number, most: number): boolean {
    const first = Math.min(this.#first, deadline);
    const last = Math.max(this.deadline, deadline);
    const together = this.batch.parts.length === 0 ||
      first === last || last - first <= SEPARATE_BYTES;
    if (!together || !this.batch.add(message, most)) return false;
    this.#first = first;
    this.deadline = last;
    return true;
  }

  get message(): Message {
    const { parts: [only, ...more] } = this.batch;
    if (only && more.length === 0) return only;
    return { ...this.batch.encode, messageId: newId(), mandatory: true };
  }
}

/** Sends what waits at the end of each turn: much less for the broker to do, and nobody waits longer for it. */
export class ReplyBatcher {
  readonly #session: Session;
  readonly #most: number;
  /** By queue. A new one for each turn: see `slots.ts`. */
  #open = new Map<string, OpenBatch>();

  /** On a transport; none is larger than a message may be. */
  constructor(session: Session, { bytes }: Limits) {
    this.#session = session;
    this.#most = bytes;
  }

  /** As `Transport.publish`, to a queue whose reader takes batches; those to one queue stay in their order. */
  publish(queue: string, message: Message, deadline: number): Promise<void> {
    let outbound = this.#open.get(queue);
    if (!outbound?.add(message, deadline, this.#most)) {
      if (outbound) this.#send(queue, outbound);
      if (this.#open.size === 0) process.nextTick(this.#flush);
      outbound = new OpenBatch();
      outbound.add(message, deadline, this.#most);
      this.#open.set(queue, outbound);
    }
    return outbound.sent.promise;
  }

  #flush = (): void => {
    const open = this.#open;
    this.#open = new Map();
    for (const [queue, outbound] of open) this.#send(queue, outbound);
  };

  #send(queue: string, outbound: OpenBatch): void {
    const { deadline, sent } = outbound;
    Promise.try(() =>
      this.#session.publish(direct(queue), outbound.message, { at: deadline })
    ).then(sent.resolve, sent.reject);
  }
}

/** Answers to one caller that are ready in the same turn of the event loop: one message for all of them. @module */
import process from "node:process";
import { direct } from "../bus/routes.ts";
import type { Message, Transport, Wait } from "../bus/transport.ts";
import { batch } from "../wire/codec.ts";
import { newId } from "./context.ts";

/** Bytes of the bodies in a batch, and of one that is in a batch at all. */
const MOST = 64 * 1024;
const LARGE = 8 * 1024;
/** Milliseconds between the deadlines of those in a batch, which is settled by the last of them. */
const APART = 250;

/** What goes to one queue. */
class Batch {
  readonly messages: Message[] = [];
  readonly sent: PromiseWithResolvers<void> = Promise.withResolvers();
  readonly #first: number;
  #bytes = 0;
  /** When it is to be settled. */
  deadline: number;

  constructor(deadline: number) {
    this.#first = this.deadline = deadline;
  }

  /** False if the message goes with others. */
  add(message: Message, { deadline }: Wait): boolean {
    const { length } = message.body;
    const fits = this.#bytes + length <= MOST;
    const alike = Math.abs(deadline - this.#first) <= APART;
    if (this.#bytes > 0 && !(fits && alike)) return false;
    this.#bytes += length;
    this.deadline = Math.max(this.deadline, deadline);
    this.messages.push(message);
    return true;
  }
}

/** Sends what waits at the end of each turn: much less for the broker to do, and nobody waits longer for it. */
export class Batches {
  readonly #transport: Transport;
  /** By queue. A new one for each turn: see `slots.ts`. */
  #open = new Map<string, Batch>();

  /** On a transport. */
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** As `Transport.publish`, to a queue whose reader takes batches; those to one queue stay in their order. */
  publish(queue: string, message: Message, wait: Wait): Promise<void> {
    const open = this.#open.get(queue);
    const large = message.body.length > LARGE;
    if (!large && open?.add(message, wait)) return open.sent.promise;
    if (open) this.#send(queue, open);
    if (!large) return this.#begin(queue, message, wait);
    this.#open.delete(queue);
    return this.#transport.publish(direct(queue), message, wait);
  }

  #begin(queue: string, message: Message, wait: Wait): Promise<void> {
    if (this.#open.size === 0) process.nextTick(this.#flush);
    const begun = new Batch(wait.deadline);
    begun.add(message, wait);
    this.#open.set(queue, begun);
    return begun.sent.promise;
  }

  #flush = (): void => {
    const open = this.#open;
    this.#open = new Map();
    for (const [queue, batch] of open) this.#send(queue, batch);
  };

  #send(queue: string, { messages, deadline, sent }: Batch): void {
    const [only] = messages;
    const message = messages.length === 1 && only
      ? only
      : { ...batch(messages), id: newId(), mandatory: true };
    this.#transport.publish(direct(queue), message, { deadline })
      .then(sent.resolve, sent.reject);
  }
}

/** Publisher confirms of a channel. @module */
import type { FieldReader } from "../codec/field_reader.ts";
import { BASIC_ACK, BASIC_NACK } from "../codec/protocol.ts";
import { notify } from "./listeners.ts";

/**
 * Confirmation of a message: `basic.ack`, `basic.nack`, or neither because the channel is closed.
 * @category AMQP
 */
export type Confirmation = "ack" | "nack" | "lost";

/**
 * ConfirmListener of a confirmation. Must not throw.
 * @category AMQP
 */
export type ConfirmListener = (confirmation: Confirmation) => void;

/** ConfirmListener that does nothing. */
export const ignore: ConfirmListener = () => {};

/** Empty slots that are kept at the head of the list, before it is shortened. */
const MAX_EMPTY_SLOTS = 1024;

/** Listeners for confirms, in the order in which their messages were sent. */
export class Confirms {
  #listeners: (ConfirmListener | undefined)[] = [];
  /** Delivery tag of the first slot. */
  #firstTag = 1;
  /** Number of empty slots at the head. */
  #empty = 0;
  /** Callers of `settled`, in the order of their last messages. */
  #waiting: { readonly tag: number; readonly resolve: () => void }[] = [];

  /** Resolves when all messages that were sent until now are confirmed or lost. */
  settled(): Promise<void> {
    const tag = this.#firstTag + this.#listeners.length - 1;
    return new Promise((resolve) => {
      this.#waiting.push({ tag, resolve });
      this.#resolveWaiting();
    });
  }

  /** Adds the listener of the next message. */
  add(listener: ConfirmListener): void {
    this.#listeners.push(listener);
  }

  /** Confirms the message with that delivery tag, which counts from 1; with `multiple`, all messages up to it. */
  settle(tag: number, multiple: boolean, confirmation: Confirmation): void {
    const index = tag - this.#firstTag;
    if (!multiple) {
      const listener = this.#take(index);
      this.#trim();
      return notify(listener, confirmation);
    }
    const settled: ConfirmListener[] = [];
    const end = Math.min(index + 1, this.#listeners.length);
    for (let at = this.#empty; at < end; at++) {
      const listener = this.#take(at);
      if (listener) settled.push(listener);
    }
    this.#trim();
    for (const listener of settled) notify(listener, confirmation);
  }

  /** Reports all unconfirmed messages as lost, because the channel is closed. */
  loseAll(): void {
    const lost = this.#listeners;
    this.#firstTag += lost.length;
    this.#listeners = [];
    this.#empty = 0;
    for (const listener of lost) notify(listener, "lost");
    this.#resolveWaiting();
  }

  #take(index: number): ConfirmListener | undefined {
    const listener = this.#listeners[index];
    if (listener) this.#listeners[index] = undefined;
    return listener;
  }

  #trim(): void {
    const { length } = this.#listeners;
    while (this.#empty < length && this.#listeners[this.#empty] === undefined) {
      this.#empty++;
    }
    this.#resolveWaiting();
    if (this.#empty < length && this.#empty <= MAX_EMPTY_SLOTS) return;
    this.#listeners = this.#empty === length
      ? []
      : this.#listeners.slice(this.#empty);
    this.#firstTag += this.#empty;
    this.#empty = 0;
  }

  #resolveWaiting(): void {
    const oldest = this.#firstTag + this.#empty;
    for (let [next] = this.#waiting; next && next.tag < oldest;) {
      next.resolve();
      this.#waiting.shift();
      [next] = this.#waiting;
    }
  }
}

/**
 * Settles the messages of `basic.ack` or `basic.nack`, if the channel has confirms; returns false for a method with any other
 * id.
 */
export function handleConfirm(
  id: number,
  fields: FieldReader,
  confirms: Confirms | undefined,
): boolean {
  if (id !== BASIC_ACK && id !== BASIC_NACK) return false;
  const tag = fields.u64();
  const multiple = (fields.u8() & 1) !== 0;
  confirms?.settle(tag, multiple, id === BASIC_ACK ? "ack" : "nack");
  return true;
}

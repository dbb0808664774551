/**
 * Oversized bodies: bodies above the limit of their consumer, of which only the two ends or one at a time are buffered.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { setDeadline } from "../async/timer_wheel.ts";

/**
 * Number of bytes that are stored of the beginning and of the end of a body that is dropped. They may contain the reply
 * address of an oslo.messaging request, so that the caller gets an error.
 */
const EDGE_BYTES = 64 * 1024;
/** Milliseconds between two messages that are requeued. */
const REQUEUE_INTERVAL_MS = 250;
/** Postponed messages above which those of closed channels are removed from the list. */
const MAX_POSTPONED = 1_024;

/** Limit of a consumer on the size of bodies. */
export interface BodyLimit {
  /** Maximum length of a body in bytes. */
  readonly bytes: number;
  /**
   * True if an oversized message without a reply address is delivered with its whole body, one message at a time in the
   * process. False if only the two ends of every oversized body are delivered.
   */
  readonly allowWhole: boolean;
}

/** Beginning and end of a body; a body that is not longer than both is stored as a whole. */
export class BodyEdges {
  /** Both ends, joined. */
  readonly bytes: Buffer;
  readonly #length: number;
  #received = 0;

  /** Allocates the buffer for a body of `length` bytes. */
  constructor(length: number) {
    this.#length = length;
    this.bytes = Buffer.alloc(Math.min(length, 2 * EDGE_BYTES));
  }

  /** Adds the next bytes of the body. */
  add(bytes: Uint8Array): void {
    if (this.bytes.length === 0) return;
    const from = this.#received;
    this.#received += bytes.length;
    if (from < EDGE_BYTES) {
      this.bytes.set(bytes.subarray(0, this.bytes.length - from), from);
    }
    const skipped = this.#length - this.bytes.length;
    const end = skipped + Math.min(EDGE_BYTES, this.bytes.length);
    const skip = Math.max(0, end - from);
    if (skip >= bytes.length) return;
    this.bytes.set(bytes.subarray(skip), from + skip - skipped);
  }
}

/** Returns the beginning and the end of a body, joined. */
export function edgesOf(body: Uint8Array): Uint8Array {
  if (body.length <= 2 * EDGE_BYTES) return body;
  const edges = new BodyEdges(body.length);
  edges.add(body);
  return edges.bytes;
}

/** A message that is requeued when there is room for its body. */
export interface PostponedDelivery {
  /** False once the channel of the message is closed: the broker has requeued the message. */
  readonly alive: boolean;
  /** Requeues the message. */
  requeue(): void;
}

/** Semaphore for one oversized body in the process. */
export class BodyBudget {
  #acquired = false;
  #postponed: PostponedDelivery[] = [];
  #paused = false;

  /** Acquires the semaphore; returns false if it is in use. */
  tryAcquire(): boolean {
    const free = !this.#acquired;
    this.#acquired = true;
    return free;
  }

  /** Releases the semaphore. */
  release(): void {
    this.#acquired = false;
    this.#requeueNext();
  }

  /** Requeues a message once there is room, so that it is delivered again with its whole body. */
  postpone(message: PostponedDelivery): void {
    if (this.#postponed.length >= MAX_POSTPONED) {
      this.#postponed = this.#postponed.filter(({ alive }) => alive);
    }
    this.#postponed.push(message);
    this.#requeueNext();
  }

  /**
   * Requeues one message at a time, with a pause between: another process may get the requeued message, so that this
   * process never releases the semaphore for it.
   */
  #requeueNext(): void {
    if (this.#acquired || this.#paused) return;
    const at = this.#postponed.findIndex(({ alive }) => alive);
    const [next] = at < 0 ? [] : this.#postponed.splice(0, at + 1).slice(-1);
    if (!next) return void (this.#postponed = []);
    next.requeue();
    if (this.#postponed.length === 0) return;
    this.#paused = true;
    setDeadline(performance.now() + REQUEUE_INTERVAL_MS, () => {
      this.#paused = false;
      this.#requeueNext();
    });
  }
}

/** The semaphore of this process. */
export const bodyBudget: BodyBudget = new BodyBudget();

/** Replay buffer of a worker: stores the unread items of a stream, for a reader that missed some. @module */
import type { Message } from "../../transport/transport.ts";
import {
  INITIAL_CREDIT,
  MAX_WINDOW_BYTES,
  MAX_WINDOW_ITEMS,
  type StreamPosition,
} from "./flow_control.ts";
import { newId } from "../../ids.ts";
import type {
  ControlTarget,
  ControlTargets,
  Credit,
} from "../control_targets.ts";

/** Stream of a replay buffer, and how its messages are resent. */
export interface ReplayOptions {
  /** Targets of readers' control commands, by call id. */
  readonly targets: ControlTargets;
  /** Id of the call. */
  readonly call: string;
  /** Reply queue of the reader at the beginning. */
  readonly reader: string;
  /** Credit of the request; 0 = the reader never requests missing items, so nothing is stored. */
  readonly window: number;
  /** Resends messages in their order to the reader's queue; if there are none, sends a heartbeat. */
  readonly resend: (
    messages: readonly Message[],
    reader: string,
  ) => Promise<void>;
}

/** Minimum milliseconds between two resends of a stream. A reader requests missing items every 500 ms. */
const RESEND_INTERVAL_MS = 100;

/**
 * Numbers the messages of one run of a stream, and stores the unread ones: at most a window of credit, and the ending.
 * The window of older readers has 32 items.
 */
export class ReplayBuffer implements ControlTarget, Disposable {
  readonly #run = newId();
  readonly #options: ReplayOptions;
  #reader: string;
  #last = 0;
  #unread: Message[] = [];
  #bytes = 0;
  #maxItems: number;
  /** True once the reader has told what it has read. */
  #isTold = false;
  #resending = false;
  #resentAt = -Infinity;

  /** Receives control commands of the reader until it is disposed. */
  constructor(options: ReplayOptions) {
    this.#options = options;
    this.#reader = options.reader;
    this.#maxItems = Math.min(options.window, INITIAL_CREDIT);
    options.targets.add(options.call, this);
  }

  /** Reply queue of the reader. */
  get reader(): string {
    return this.#reader;
  }

  moveReader(queue: string): void {
    this.#reader = queue;
  }

  isRun(run: string): boolean {
    return run === this.#run;
  }

  /** Position of the next message. */
  get next(): StreamPosition {
    return { sequence: this.#last + 1, runId: this.#run };
  }

  /** Bytes of the stored messages. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * True if the unread messages have so many bytes that the next item has to wait. Older readers do not tell what they
   * have read, and have no limit of bytes.
   */
  get full(): boolean {
    return this.#isTold && this.#bytes > MAX_WINDOW_BYTES &&
      this.#unread.length >= INITIAL_CREDIT;
  }

  /** Adds the next message. The oldest one is dropped if there are more than the window and an ending. */
  add(message: Message): void {
    this.#last++;
    if (this.#maxItems === 0) return;
    this.#unread.push(message);
    this.#bytes += message.body.length;
    if (this.#unread.length > this.#maxItems + 1) this.#drop(1);
  }

  /** Drops a message that was not sent, and all later ones: the next message gets its number. */
  retract(message: Message): void {
    const at = this.#unread.indexOf(message);
    if (at < 0) return;
    for (const { body } of this.#unread.splice(at)) {
      this.#bytes -= body.length;
      this.#last--;
    }
  }

  /**
   * Drops the messages that were read. Older readers do not tell what they have read: they have read the items that are
   * more than their window behind the granted item.
   */
  grant({ upTo, read }: Credit): void {
    const { window } = this.#options;
    if (read !== undefined && window > 0) {
      this.#isTold = true;
      this.#maxItems = MAX_WINDOW_ITEMS;
    }
    const unread = this.#last - (read ?? upTo - window);
    this.#drop(this.#unread.length - Math.max(0, unread));
  }

  #drop(messages: number): void {
    if (messages <= 0) return;
    for (const { body } of this.#unread.splice(0, messages)) {
      this.#bytes -= body.length;
    }
  }

  /**
   * Resends the messages from number `from` on; false if they belong to another run. Items that were read are not
   * resent: a request for them was sent before they arrived.
   */
  resume(from: number, run: string | undefined): boolean {
    if ((run ?? this.#run) !== this.#run) return false;
    const now = performance.now();
    const isTooSoon = now < this.#resentAt + RESEND_INTERVAL_MS;
    if (this.#resending || isTooSoon) return true; // the reader repeats its request
    this.#resending = true;
    this.#resentAt = now;
    const first = this.#last - this.#unread.length + 1;
    const missed = this.#unread.slice(Math.max(0, from - first));
    void this.#options.resend(missed, this.#reader).catch(() => {}).finally(
      () => this.#resending = false,
    );
    return true;
  }

  end(): void {
    this[Symbol.dispose]();
  }

  onReturned(): void {}

  /** Drops all messages, and receives no more control commands. */
  [Symbol.dispose](): void {
    this.#options.targets.remove(this.#options.call, this);
    this.#unread = [];
    this.#bytes = 0;
  }
}

/** Maximum milliseconds for which a finished stream is stored. */
const MAX_FINISHED_MS = 60_000;
/** Maximum bytes of finished streams that are stored. */
const MAX_FINISHED_BYTES = 16 * 1024 * 1024;
/** Estimated bytes of a finished stream, without its messages. */
const OVERHEAD_BYTES = 1024;

/** Streams that finished recently, whose readers may have missed the ending. */
export class FinishedStreams implements Disposable {
  /** Finished streams, the oldest first. */
  readonly #streams = new Map<ReplayBuffer, { since: number; bytes: number }>();
  #bytes = 0;

  /** Adds a finished stream, and drops the oldest ones beyond the limits of age and size. */
  add(stream: ReplayBuffer): void {
    const now = performance.now();
    const bytes = stream.bytes + OVERHEAD_BYTES;
    this.#streams.set(stream, { since: now, bytes });
    this.#bytes += bytes;
    for (const [oldest, { since }] of this.#streams) {
      const isRecent = now - since <= MAX_FINISHED_MS;
      if (isRecent && this.#bytes <= MAX_FINISHED_BYTES) return;
      this.#forget(oldest);
    }
  }

  /** Drops all streams. */
  [Symbol.dispose](): void {
    for (const stream of [...this.#streams.keys()]) this.#forget(stream);
  }

  #forget(stream: ReplayBuffer): void {
    this.#bytes -= this.#streams.get(stream)?.bytes ?? 0;
    this.#streams.delete(stream);
    stream[Symbol.dispose]();
  }
}

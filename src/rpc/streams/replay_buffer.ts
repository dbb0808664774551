/** Replay buffer of a worker: stores the unread items of a stream, for a reader that missed some. @module */
import type { Message } from "../../transport/transport.ts";
import { INITIAL_CREDIT, type StreamPosition } from "./flow_control.ts";
import { newId } from "../../ids.ts";
import type { ControlTarget, ControlTargets } from "../control_targets.ts";

/** Stream of a replay buffer, and how its messages are resent. */
export interface ReplayOptions {
  /** Targets of readers' control commands, by call id. */
  readonly targets: ControlTargets;
  /** Id of the call. */
  readonly call: string;
  /** Reply queue of the reader. */
  readonly reader: string;
  /** Maximum number of unread items; 0 = the reader never requests missing items, so nothing is stored. */
  readonly window: number;
  /** Resends messages in their order; if there are none, sends a heartbeat. */
  readonly resend: (messages: readonly Message[]) => Promise<void>;
}

/** Minimum milliseconds between two resends of a stream. A reader requests missing items every 500 ms. */
const RESEND_INTERVAL_MS = 100;

/** Numbers the messages of one run of a stream, and stores the unread ones: at most a window of credit, and the ending. */
export class ReplayBuffer implements ControlTarget, Disposable {
  readonly #run = newId();
  readonly #options: ReplayOptions;
  #last = 0;
  #unread: Message[] = [];
  #resending = false;
  #resentAt = -Infinity;

  /** Receives control commands of the reader until it is disposed. */
  constructor(options: ReplayOptions) {
    this.#options = options;
    options.targets.add(options.call, this);
  }

  /** Reply queue of the reader. */
  get reader(): string {
    return this.#options.reader;
  }

  /** Position of the next message. */
  get next(): StreamPosition {
    return { sequence: this.#last + 1, runId: this.#run };
  }

  /** Bytes of the stored messages. */
  get bytes(): number {
    return this.#unread.reduce((sum, { body }) => sum + body.length, 0);
  }

  /** Adds the next message. The oldest one is dropped if there are more than the window and an ending. */
  add(message: Message): void {
    this.#last++;
    const { window } = this.#options;
    if (window > 0) this.#unread.push(message);
    if (this.#unread.length > Math.min(window, INITIAL_CREDIT) + 1) {
      this.#unread.shift();
    }
  }

  /** Drops the messages that were read: those that are more than a window behind the granted item. */
  grant(upTo: number): void {
    const unread = this.#last - (upTo - this.#options.window);
    if (unread < this.#unread.length) {
      this.#unread.splice(0, this.#unread.length - Math.max(0, unread));
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
    void this.#options.resend(missed).catch(() => {}).finally(() =>
      this.#resending = false
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

/** What a worker has sent of a stream, for a reader that missed some of it. @module */
import type { Message } from "../../transport/transport.ts";
import { INITIAL_CREDIT, type StreamPosition } from "./flow_control.ts";
import { newId } from "../../ids.ts";
import type { ControlTarget, ControlTargets } from "../control_targets.ts";

/** Which stream it is, and how its messages are sent again; without any, a sign of life is given. */
export interface SentParts {
  /** Where its reader's words come. */
  readonly targets: ControlTargets;
  /** Id of the call. */
  readonly call: string;
  /** Queue of its reader. */
  readonly reader: string;
  /** Items that may come unread; 0 = its reader never asks again, so nothing is kept. */
  readonly window: number;
  /** Sends them again, in order. */
  readonly again: (messages: readonly Message[]) => Promise<void>;
}

/** Milliseconds between two times that a stream is said again; a reader asks every 500. */
const RESEND_INTERVAL_MS = 100;

/** Numbers the messages of one run, and keeps those that were not read yet: the window of credit, and the ending. */
export class ReplayBuffer implements ControlTarget, Disposable {
  readonly #run = newId();
  readonly #parts: SentParts;
  #last = 0;
  #kept: Message[] = [];
  #busy = false;
  #saidAt = -Infinity;

  /** Its reader is heard until it is disposed. */
  constructor(parts: SentParts) {
    this.#parts = parts;
    parts.targets.add(parts.call, this);
  }

  /** Queue of its reader. */
  get reader(): string {
    return this.#parts.reader;
  }

  /** What the next message says of its place. */
  get next(): StreamPosition {
    return { sequence: this.#last + 1, runId: this.#run };
  }

  /** What is kept, in bytes. */
  get bytes(): number {
    return this.#kept.reduce((sum, { body }) => sum + body.length, 0);
  }

  /** The next message. */
  add(message: Message): void {
    this.#last++;
    const { window } = this.#parts;
    if (window > 0) this.#kept.push(message);
    if (this.#kept.length > Math.min(window, INITIAL_CREDIT) + 1) {
      this.#kept.shift();
    }
  }

  /** What is a window behind the credit was read. */
  grant(upTo: number): void {
    const unread = this.#last - (upTo - this.#parts.window);
    if (unread < this.#kept.length) {
      this.#kept.splice(0, this.#kept.length - Math.max(0, unread));
    }
  }

  /** What was read is not asked for: who seems to do so has said it before he read. */
  resume(from: number, run: string | undefined): boolean {
    if ((run ?? this.#run) !== this.#run) return false;
    const now = performance.now();
    const soon = now < this.#saidAt + RESEND_INTERVAL_MS;
    if (this.#busy || soon) return true; // he asks once more
    this.#busy = true;
    this.#saidAt = now;
    const first = this.#last - this.#kept.length + 1;
    const missed = this.#kept.slice(Math.max(0, from - first));
    void this.#parts.again(missed).catch(() => {}).finally(() =>
      this.#busy = false
    );
    return true;
  }

  end(): void {
    this[Symbol.dispose]();
  }

  returned(): void {}

  /** Nothing is kept any more. */
  [Symbol.dispose](): void {
    this.#parts.targets.remove(this.#parts.call, this);
    this.#kept = [];
  }
}

/** How long ended streams are kept in milliseconds, and how much of them in bytes: a stream counts as a little more than its messages. */
const MAX_FINISHED = { ms: 60_000, bytes: 16 * 1024 * 1024, each: 1024 };

/** Streams that have ended lately: their readers may have missed the ending. */
export class FinishedStreams implements Disposable {
  /** The oldest first. */
  readonly #streams = new Map<ReplayBuffer, { since: number; bytes: number }>();
  #bytes = 0;

  /** One has ended; those that are too old, or too much, are forgotten. */
  add(stream: ReplayBuffer): void {
    const now = performance.now();
    const bytes = stream.bytes + MAX_FINISHED.each;
    this.#streams.set(stream, { since: now, bytes });
    this.#bytes += bytes;
    for (const [oldest, { since }] of this.#streams) {
      if (this.#bytes <= MAX_FINISHED.bytes && now - since <= MAX_FINISHED.ms) {
        return;
      }
      this.#forget(oldest);
    }
  }

  /** Forgets all of them. */
  [Symbol.dispose](): void {
    for (const stream of [...this.#streams.keys()]) this.#forget(stream);
  }

  #forget(stream: ReplayBuffer): void {
    this.#bytes -= this.#streams.get(stream)?.bytes ?? 0;
    this.#streams.delete(stream);
    stream[Symbol.dispose]();
  }
}

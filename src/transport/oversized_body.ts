/** Bodies above the limit of their consumer: what is held of them. @module */
import { Buffer } from "node:buffer";
import { setDeadline } from "../async/timer_wheel.ts";

/** Bytes that are held of the beginning and of the end of a body that is dropped: they may say who waits for an answer. */
const EDGE_BYTES = 64 * 1024;
/** Milliseconds between two messages that go back to their queues. */
const NEXT = 250;
/** Messages that wait to go back, before those of lost channels are forgotten. */
const MANY = 1_024;

/** A consumer's rule for bodies that are too large. */
export interface BodyLimit {
  /** Bytes above which a body is too large. */
  readonly bytes: number;
  /**
   * True: a message that wants no answer by its properties comes with its whole body, one at a time in a process. False: no
   * body does.
   */
  readonly keep: boolean;
}

/** A body of which the beginning and the end are kept; all of it, where that is not more. */
export class BodyEdges {
  /** Both ends, put together. */
  readonly kept: Buffer;
  readonly #length: number;
  #come = 0;

  /** Of a body of that length. */
  constructor(length: number) {
    this.#length = length;
    this.kept = Buffer.alloc(Math.min(length, 2 * EDGE_BYTES));
  }

  /** The next bytes. */
  add(bytes: Uint8Array): void {
    if (this.kept.length === 0) return;
    const from = this.#come;
    this.#come += bytes.length;
    if (from < EDGE_BYTES) {
      this.kept.set(bytes.subarray(0, this.kept.length - from), from);
    }
    const skipped = this.#length - this.kept.length;
    const end = skipped + Math.min(EDGE_BYTES, this.kept.length);
    const late = Math.max(0, end - from);
    if (late >= bytes.length) return;
    this.kept.set(bytes.subarray(late), from + late - skipped);
  }
}

/** The beginning and the end of a body. */
export function edgesOf(body: Uint8Array): Uint8Array {
  if (body.length <= 2 * EDGE_BYTES) return body;
  const edges = new BodyEdges(body.length);
  edges.add(body);
  return edges.kept;
}

/** A message that goes back to its queue when there is room for its body. */
export interface Postponed {
  /** False once its channel is gone, and it is back already. */
  readonly alive: boolean;
  /** Gives it back. */
  giveBack(): void;
}

/** Room for one large body in this process. */
export class BodyBudget {
  #taken = false;
  #waiting: Postponed[] = [];
  #pausing = false;

  /** Takes it; false if it is taken. Whoever has it gives it back once. */
  take(): boolean {
    const free = !this.#taken;
    this.#taken = true;
    return free;
  }

  /** It is free again. */
  give(): void {
    this.#taken = false;
    this.#next();
  }

  /** Goes back to its queue, and so comes again, when there is room. */
  postpone(message: Postponed): void {
    if (this.#waiting.length >= MANY) {
      this.#waiting = this.#waiting.filter(({ alive }) => alive);
    }
    this.#waiting.push(message);
    this.#next();
  }

  /** One after the other: another process may take it, so that nobody gives the room back here. */
  #next(): void {
    if (this.#taken || this.#pausing) return;
    const at = this.#waiting.findIndex(({ alive }) => alive);
    const [next] = at < 0 ? [] : this.#waiting.splice(0, at + 1).slice(-1);
    if (!next) return void (this.#waiting = []);
    next.giveBack();
    if (this.#waiting.length === 0) return;
    this.#pausing = true;
    setDeadline(performance.now() + NEXT, () => {
      this.#pausing = false;
      this.#next();
    });
  }
}

/** That of this process. */
export const bodyBudget: BodyBudget = new BodyBudget();

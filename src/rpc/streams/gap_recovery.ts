/** Items of a stream that were lost on their way are asked for again. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import type { StreamReceiver } from "./stream_receiver.ts";

/** Milliseconds in which what is missing must come, and between two times that it is asked for. */
const PATIENCE = 10_000;
const RETRY_INTERVAL_MS = 500;
/** Milliseconds in which a worker must be heard once another has begun to run the same: it may have lost its broker for a moment. */
const RIVAL = 5_000;
/** Milliseconds of silence after which the ending may be missing: a worker gives a sign of life every five seconds. */
const QUIET = 7_500;

/** The reader's side; the worker's is in `sent_items.ts`. */
export class GapRecovery implements Disposable {
  readonly #receiver: StreamReceiver;
  readonly #ask: () => void;
  readonly #patience: number;
  #heardAt = performance.now();
  /** Until then, what was on its way when the link was lost is in doubt. */
  #doubtUntil = -Infinity;
  /** The first missing item that is waited for; 0 = none. */
  #awaited = 0;
  #limit = setDeadline(Infinity, () => {});
  #rival: Timer | undefined;
  #next = setDeadline(performance.now() + QUIET, () => this.#look());

  /** `ask` tells the worker where to go on; `timeout` is the silence that the reader bears. */
  constructor(receiver: StreamReceiver, timeout: number, ask: () => void) {
    this.#receiver = receiver;
    this.#ask = ask;
    this.#patience = Math.min(PATIENCE, timeout);
    receiver.heard = () => this.#hear();
  }

  /** The link is back: worker and inbox may come back a little later. */
  returned(): void {
    this.#doubtUntil = performance.now() + PATIENCE;
    this.#say();
  }

  /** Another worker runs the same. */
  rival(): void {
    if (this.#rival) return;
    const until = performance.now() + Math.min(RIVAL, this.#patience);
    this.#rival = setDeadline(until, () => this.#receiver.superseded());
    this.returned();
  }

  #unrivalled(): void {
    if (this.#rival) clearDeadline(this.#rival);
    this.#rival = undefined;
  }

  [Symbol.dispose](): void {
    this.#receiver.heard = () => {};
    this.#unrivalled();
    clearDeadline(this.#limit);
    clearDeadline(this.#next);
  }

  #hear(): void {
    const { missing, ended, upcoming } = this.#receiver;
    if (ended) return this[Symbol.dispose]();
    this.#unrivalled();
    this.#heardAt = performance.now();
    this.#doubtUntil = -Infinity;
    const before = this.#awaited;
    this.#awaited = missing ? upcoming : 0;
    if (this.#awaited === before) return;
    clearDeadline(this.#limit);
    if (!missing) return;
    const until = this.#heardAt + this.#patience;
    this.#limit = setDeadline(until, () => this.#receiver.lost());
    if (before === 0) this.#say(); // else what was asked for is coming
  }

  /** Asks, and looks later whether that helped. */
  #say(): void {
    this.#ask();
    const now = performance.now();
    const troubled = this.#awaited > 0 || now < this.#doubtUntil;
    this.#again(now + (troubled ? RETRY_INTERVAL_MS : QUIET));
  }

  #look(): void {
    const now = performance.now();
    const quietAt = this.#heardAt + QUIET;
    const troubled = this.#awaited > 0 || now < this.#doubtUntil;
    if (troubled || now >= quietAt) this.#say();
    else this.#again(quietAt);
  }

  #again(at: number): void {
    clearDeadline(this.#next);
    this.#next = setDeadline(at, () => this.#look());
  }
}

/** Detects a blocked event loop, and logs which handlers were running. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import { SlotMap } from "../../slot_map.ts";
import { logger, oneLine } from "../../logging.ts";
import { instruments } from "../../telemetry/instruments.ts";

/** Request whose handler runs. */
export interface Watched {
  /** `topic.method`. */
  readonly name: string;
}

/** Milliseconds for which the event loop must be blocked to be logged; also the interval between two checks. */
const BLOCKED_AFTER_MS = 1_000;
const CHECK_INTERVAL_MS = 250;
/** Maximum number of procedures that one log entry names. */
const MAX_NAMES = 5;

/** Detects by a late timer that the event loop was blocked while handlers ran. The timer runs only while a handler runs. */
export class EventLoopMonitor<T extends Watched = Watched>
  implements Disposable {
  readonly #active = new SlotMap<T>();
  #due = 0;
  #timer: Timer | undefined;
  #blocked = 0;
  readonly #onCheck: (active: Iterable<T>) => void;

  /** `onCheck` is called with the running requests four times a second, while there are any. */
  constructor(onCheck: (active: Iterable<T>) => void = () => {}) {
    this.#onCheck = onCheck;
  }

  /** Requests whose handlers run. */
  get active(): Iterable<T> {
    return this.#active;
  }

  /** Times that the event loop was blocked for a second or longer. */
  get blocked(): number {
    return this.#blocked;
  }

  /** Adds a request whose handler starts; returns the handle for `stop`. */
  start(one: T): number {
    if (this.#active.size === 0) {
      this.#due = performance.now() + CHECK_INTERVAL_MS;
    }
    const handle = this.#active.add(one);
    if (!this.#timer) this.#schedule();
    return handle;
  }

  /**
   * Removes a request whose handler has ended after `ms` milliseconds. Checks first if that was long, since the handler may
   * end before the late timer fires.
   */
  stop(handle: number | undefined, ms: number): void {
    if (ms >= BLOCKED_AFTER_MS) this.#check();
    if (handle !== undefined) this.#active.delete(handle);
  }

  /**
   * Records that a handler blocked the event loop for `ms` milliseconds, before it first awaited something. The log
   * entry of a handler that blocked for too long names only this handler.
   */
  recordRun({ name }: T, ms: number): void {
    if (ms < BLOCKED_AFTER_MS) return;
    this.#countBlock();
    logger("rpc").warn(
      "The event loop stood still for {ms} ms in {procedure}, which did not await anything meanwhile, or the process was stopped",
      { ms: Math.round(ms), procedure: oneLine(name) },
    );
    this.#schedule();
  }

  /** Stops the timer and forgets the running requests. */
  [Symbol.dispose](): void {
    this.#active.clear();
    this.#stopTimer();
  }

  #stopTimer(): void {
    if (this.#timer) clearDeadline(this.#timer);
    this.#timer = undefined;
  }

  /** Lets the timer run out when no handler runs: starting and stopping it with each request would cost more. */
  #schedule(): void {
    this.#stopTimer();
    if (this.#active.size === 0) return;
    this.#due = performance.now() + CHECK_INTERVAL_MS;
    this.#timer = setDeadline(this.#due, () => {
      this.#check();
      this.#onCheck(this.#active);
      this.#schedule();
    });
  }

  #check(): void {
    const ms = performance.now() - this.#due;
    if (ms < BLOCKED_AFTER_MS || this.#active.size === 0) return;
    this.#countBlock();
    logger("rpc").warn(
      "The event loop stood still for {ms} ms: something did not await anything meanwhile, or the process was stopped; in hand: {procedures}",
      { ms: Math.round(ms), procedures: this.#names() },
    );
    this.#schedule();
  }

  #countBlock(): void {
    this.#blocked++;
    instruments.eventLoopBlocks.record(1, []);
  }

  #names(): string {
    const all = [...this.#active].map(({ name }) => oneLine(name));
    const names = [...new Set(all)];
    const more = names.length - MAX_NAMES;
    const named = names.slice(0, MAX_NAMES).join(", ");
    return more > 0 ? `${named} and ${more} more` : named;
  }
}

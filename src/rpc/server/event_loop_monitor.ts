/** An event loop that stands still answers nobody: whoever has it in hand is named. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import { SlotMap } from "../../slot_map.ts";
import { logger, oneLine } from "../../logging.ts";

/** A request in hand. */
export interface Watched {
  /** `topic.method`. */
  readonly name: string;
  /** Its number among those in hand; undefined while it is none of them. */
  watched?: number | undefined;
}

/** Milliseconds of standstill that are told, and between two looks at it. */
const BLOCKED_AFTER_MS = 1_000;
const CHECK_INTERVAL_MS = 250;
/** Procedures that are named. */
const MAX_NAMES = 5;

/** Notices that the event loop stood still while requests were in hand: a timer fires late. Looks at nothing while there are none. */
export class EventLoopMonitor<T extends Watched = Watched>
  implements Disposable {
  readonly #active = new SlotMap<T>();
  #due = 0;
  #look: Timer | undefined;
  #blocked = 0;
  readonly #looked: (active: Iterable<T>) => void;

  /** `looked` is called with those in hand a few times a second, while there are any. */
  constructor(looked: (active: Iterable<T>) => void = () => {}) {
    this.#looked = looked;
  }

  /** Those in hand. */
  get active(): Iterable<T> {
    return this.#active;
  }

  /** How often it stood still for a second or longer. */
  get blocked(): number {
    return this.#blocked;
  }

  /** One is in hand. */
  begin(one: T): void {
    if (this.#active.size === 0) {
      this.#due = performance.now() + CHECK_INTERVAL_MS;
    }
    one.watched = this.#active.add(one);
    if (!this.#look) this.#later();
  }

  /** It is not any more; its end may come before the timer. */
  end(one: T): void {
    this.#check();
    if (one.watched !== undefined) this.#active.delete(one.watched);
    one.watched = undefined;
  }

  /** Its handler has come to a pause, after so many milliseconds. One that is found out is told of at once, and alone. */
  ran(one: T, ms: number): void {
    if (ms < BLOCKED_AFTER_MS || one.watched === undefined) return;
    this.#blocked++;
    logger("rpc").warn(
      "The event loop stood still for {ms} ms in {procedure}, which did not await anything meanwhile, or the process was stopped",
      { ms: Math.round(ms), procedure: oneLine(one.name) },
    );
    this.#later();
  }

  /** Looks no more, whoever is still in hand. */
  [Symbol.dispose](): void {
    this.#active.clear();
    this.#rest();
  }

  #rest(): void {
    if (this.#look) clearDeadline(this.#look);
    this.#look = undefined;
  }

  /** The last look of a while is at nothing: to begin and to end it with each request would cost more. */
  #later(): void {
    this.#rest();
    if (this.#active.size === 0) return;
    this.#due = performance.now() + CHECK_INTERVAL_MS;
    this.#look = setDeadline(this.#due, () => {
      this.#check();
      this.#looked(this.#active);
      this.#later();
    });
  }

  #check(): void {
    const ms = performance.now() - this.#due;
    if (ms < BLOCKED_AFTER_MS || this.#active.size === 0) return;
    this.#blocked++;
    logger("rpc").warn(
      "The event loop stood still for {ms} ms: something did not await anything meanwhile, or the process was stopped; in hand: {procedures}",
      { ms: Math.round(ms), procedures: this.#names() },
    );
    this.#later();
  }

  #names(): string {
    const all = [...this.#active].map(({ name }) => oneLine(name));
    const names = [...new Set(all)];
    const more = names.length - MAX_NAMES;
    const named = names.slice(0, MAX_NAMES).join(", ");
    return more > 0 ? `${named} and ${more} more` : named;
  }
}

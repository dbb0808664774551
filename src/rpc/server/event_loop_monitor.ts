/** An event loop that stands still answers nobody: whoever has it in hand is named. @module */
import { expireAt, forget, type Waiting } from "../../async/timer_wheel.ts";
import { Slots } from "../../slot_map.ts";
import { log, oneLine } from "../../logging.ts";

/** A request in hand. */
export interface Watched {
  /** `topic.method`. */
  readonly name: string;
  /** Its number among those in hand; undefined while it is none of them. */
  watched?: number | undefined;
}

/** Milliseconds of standstill that are told, and between two looks at it. */
const LONG = 1_000;
const LOOK = 250;
/** Procedures that are named. */
const NAMED = 5;

/** Notices that the event loop stood still while requests were in hand: a timer fires late. Looks at nothing while there are none. */
export class LoopWatch<T extends Watched = Watched> implements Disposable {
  readonly #inHand = new Slots<T>();
  #due = 0;
  #look: Waiting | undefined;
  #blocked = 0;
  readonly #looked: (inHand: Iterable<T>) => void;

  /** `looked` is called with those in hand a few times a second, while there are any. */
  constructor(looked: (inHand: Iterable<T>) => void = () => {}) {
    this.#looked = looked;
  }

  /** Those in hand. */
  get inHand(): Iterable<T> {
    return this.#inHand;
  }

  /** How often it stood still for a second or longer. */
  get blocked(): number {
    return this.#blocked;
  }

  /** One is in hand. */
  begin(one: T): void {
    if (this.#inHand.size === 0) this.#due = performance.now() + LOOK;
    one.watched = this.#inHand.add(one);
    if (!this.#look) this.#later();
  }

  /** It is not any more; its end may come before the timer. */
  end(one: T): void {
    this.#check();
    if (one.watched !== undefined) this.#inHand.delete(one.watched);
    one.watched = undefined;
  }

  /** Its handler has come to a pause, after so many milliseconds. One that is found out is told of at once, and alone. */
  ran(one: T, ms: number): void {
    if (ms < LONG || one.watched === undefined) return;
    this.#blocked++;
    log("rpc").warn(
      "The event loop stood still for {ms} ms in {procedure}, which did not await anything meanwhile, or the process was stopped",
      { ms: Math.round(ms), procedure: oneLine(one.name) },
    );
    this.#later();
  }

  /** Looks no more, whoever is still in hand. */
  [Symbol.dispose](): void {
    this.#inHand.clear();
    this.#rest();
  }

  #rest(): void {
    if (this.#look) forget(this.#look);
    this.#look = undefined;
  }

  /** The last look of a while is at nothing: to begin and to end it with each request would cost more. */
  #later(): void {
    this.#rest();
    if (this.#inHand.size === 0) return;
    this.#due = performance.now() + LOOK;
    this.#look = expireAt(this.#due, () => {
      this.#check();
      this.#looked(this.#inHand);
      this.#later();
    });
  }

  #check(): void {
    const ms = performance.now() - this.#due;
    if (ms < LONG || this.#inHand.size === 0) return;
    this.#blocked++;
    log("rpc").warn(
      "The event loop stood still for {ms} ms: something did not await anything meanwhile, or the process was stopped; in hand: {procedures}",
      { ms: Math.round(ms), procedures: this.#names() },
    );
    this.#later();
  }

  #names(): string {
    const all = [...this.#inHand].map(({ name }) => oneLine(name));
    const names = [...new Set(all)];
    const more = names.length - NAMED;
    const named = names.slice(0, NAMED).join(", ");
    return more > 0 ? `${named} and ${more} more` : named;
  }
}

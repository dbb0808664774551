/**
 * Targets of control commands: running work by call id. Two calls may have the same id, since callers choose the ids.
 *
 * @module
 */

import { KeyedSlotMap } from "../slot_map.ts";

/** Credit that the reader of a stream grants. */
export interface Credit {
  /** Number of the last item that may be sent. */
  readonly upTo: number;
  /** Number of the last item that was read; undefined from older readers, whose window has a fixed size. */
  readonly read?: number | undefined;
}

/** Work that control commands act on. */
export interface ControlTarget {
  /** Ends the work, because no caller waits for its result any more. */
  end(reason: string): void;
  /** Receives a credit for items of a stream. */
  grant(credit: Credit): void;
  /** Reply queue of the caller. */
  readonly reader: string | undefined;
  /** True for the run of a stream that has this id, which only its reader knows. */
  isRun(run: string): boolean;
  /** Sends everything further to another reply queue of the same caller. */
  moveReader(queue: string): void;
  /** Resends the items of run `run` from number `from` on. False if they are not stored here. */
  resume(from: number, run: string | undefined): boolean;
  /** Notes that a message to the caller was returned, because no queue took it. */
  onReturned(message: string | undefined): void;
}

/** Target of a call, or a list if several calls have the same id. */
type Targets = ControlTarget | readonly ControlTarget[];

/** Targets of the control commands that one transport receives. */
export class ControlTargets {
  readonly #calls = new KeyedSlotMap<string, Targets>();

  /** Adds a target. */
  add(call: string, running: ControlTarget): void {
    const same = this.#calls.get(call);
    if (!same) return this.#calls.set(call, running);
    const others = listOf(same).filter((each) => each !== running);
    this.#calls.set(call, [...others, running]);
  }

  /** Removes a target. */
  remove(call: string, running: ControlTarget): void {
    const same = this.#calls.get(call);
    if (!same) return;
    if (same === running) return this.#calls.delete(call);
    const others = listOf(same).filter((each) => each !== running);
    const [first] = others;
    if (!first) this.#calls.delete(call);
    else this.#calls.set(call, others.length === 1 ? first : others);
  }

  /** Cancels a call at the request of its caller. */
  cancel(call: string): void {
    for (const running of this.#targetsOf(call)) {
      running.end("the caller cancelled it");
    }
  }

  /** Passes a credit to the targets of a call. */
  grant(call: string, credit: Credit): void {
    for (const running of this.#targetsOf(call)) running.grant(credit);
  }

  /**
   * Resends items to the reader whose queue is `reader`. At most one stream does so, and only a stream whose replies
   * are sent to that queue. A stream whose run the reader names is moved to that queue: its reader has a new one. False if
   * no target has the items.
   */
  resume(
    call: string,
    reader: string | undefined,
    from: number,
    run: string | undefined,
  ): boolean {
    const named = run === undefined
      ? undefined
      : this.#targetsOf(call).find((running) => running.isRun(run));
    if (named?.reader !== undefined && reader !== undefined) {
      this.moveReader(call, named.reader, reader);
    }
    for (const running of this.#targetsOf(call)) {
      if (running.reader !== reader || reader === undefined) continue;
      if (running.resume(from, run)) return true;
    }
    return false;
  }

  /** Moves the targets of a call from one reply queue of its caller to another. */
  moveReader(call: string, from: string, to: string): void {
    if (from === to) return;
    for (const running of this.#targetsOf(call)) {
      if (running.reader === from) running.moveReader(to);
    }
  }

  /** Reports a returned message to the targets of its call. */
  onReturned(call: string, message: string | undefined): void {
    for (const running of this.#targetsOf(call)) {
      running.onReturned(message);
    }
  }

  /** Returns the targets of a call in a list that never changes, since a target may be removed while it is notified. */
  #targetsOf(call: string): readonly ControlTarget[] {
    const targets = this.#calls.get(call);
    return targets ? listOf(targets) : [];
  }
}

const listOf = (targets: Targets): readonly ControlTarget[] =>
  targets instanceof Array ? targets : [targets];

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
  /** Resends the items of run `run` from number `from` on. False if they are not stored here. */
  resume(from: number, run: string | undefined): boolean;
  /** Notes that a message to the caller was returned, because no queue took it. */
  onReturned(message: string | undefined): void;
}

/** Targets of the control commands that one transport receives. */
export class ControlTargets {
  readonly #calls = new KeyedSlotMap<string, Set<ControlTarget>>();

  /** Adds a target. */
  add(call: string, running: ControlTarget): void {
    const same = this.#calls.get(call);
    if (same) same.add(running);
    else this.#calls.set(call, new Set([running]));
  }

  /** Removes a target. */
  remove(call: string, running: ControlTarget): void {
    const same = this.#calls.get(call);
    same?.delete(running);
    if (same?.size === 0) this.#calls.delete(call);
  }

  /** Cancels a call at the request of its caller. */
  cancel(call: string): void {
    for (const running of this.#calls.get(call) ?? []) {
      running.end("the caller cancelled it");
    }
  }

  /** Passes a credit to the targets of a call. */
  grant(call: string, credit: Credit): void {
    for (const running of this.#calls.get(call) ?? []) running.grant(credit);
  }

  /**
   * Resends items to the reader whose queue is `reader`. At most one stream does so, and only a stream whose replies
   * are sent to that queue. False if no target has the items.
   */
  resume(
    call: string,
    reader: string | undefined,
    from: number,
    run: string | undefined,
  ): boolean {
    for (const running of this.#calls.get(call) ?? []) {
      if (running.reader !== reader || reader === undefined) continue;
      if (running.resume(from, run)) return true;
    }
    return false;
  }

  /** Reports a returned message to the targets of its call. */
  onReturned(call: string, message: string | undefined): void {
    for (const running of this.#calls.get(call) ?? []) {
      running.onReturned(message);
    }
  }
}

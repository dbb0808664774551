/** Targets of control commands: running work by call id. Callers choose the ids, so that two calls may have the same. @module */

import { KeyedSlotMap } from "../slot_map.ts";

/** Work that control commands act on. */
export interface ControlTarget {
  /** Ends the work because nobody waits for it any more. */
  end(reason: string): void;
  /** Takes a credit: items of the stream up to that number may be sent. */
  grant(upTo: number): void;
  /** Queue of the replies. */
  readonly reader: string | undefined;
  /** Sends again the items of a stream from that number on, of that run. False if they are not stored here. */
  resume(from: number, run: string | undefined): boolean;
  /** Takes a message to the caller that came back because no queue took it. */
  returned(message: string | undefined): void;
}

/** Targets of one transport. */
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

  /** Cancels a call at its caller's command. */
  cancel(call: string): void {
    for (const running of this.#calls.get(call) ?? []) {
      running.end("the caller cancelled it");
    }
  }

  /** Passes on a credit. */
  grant(call: string, upTo: number): void {
    for (const running of this.#calls.get(call) ?? []) running.grant(upTo);
  }

  /**
   * Sends items again to a reader, whose queue is `reader`. One stream at most does so, and only one whose replies go to that
   * queue. False if no target has the items.
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

  /** Passes on a message that came back. */
  returned(call: string, message: string | undefined): void {
    for (const running of this.#calls.get(call) ?? []) {
      running.returned(message);
    }
  }
}

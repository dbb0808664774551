/** Calls that run here, by the ids that their callers gave them: strangers may have given the same. @module */

import { KeyedSlotMap } from "../slot_map.ts";

/** One of them. */
export interface ControlTarget {
  /** Nobody wants it any more. */
  end(reason: string): void;
  /** Items of its stream up to that number may come. */
  grant(upTo: number): void;
  /** The queue to which its answers go. */
  readonly reader: string | undefined;
  /** Its caller has missed what came from that number on, of that run. False if it is not known here. */
  resume(from: number, run: string | undefined): boolean;
  /** A message to its caller came back: no queue took it. */
  returned(message: string | undefined): void;
}

/** All of one link. */
export class ControlTargets {
  readonly #calls = new KeyedSlotMap<string, Set<ControlTarget>>();

  /** Known from now on. */
  add(call: string, running: ControlTarget): void {
    const same = this.#calls.get(call);
    if (same) same.add(running);
    else this.#calls.set(call, new Set([running]));
  }

  /** Not any more. */
  remove(call: string, running: ControlTarget): void {
    const same = this.#calls.get(call);
    same?.delete(running);
    if (same?.size === 0) this.#calls.delete(call);
  }

  /** Its caller wants no more of it. */
  cancel(call: string): void {
    for (const running of this.#calls.get(call) ?? []) {
      running.end("the caller cancelled it");
    }
  }

  /** Its caller has read items. */
  grant(call: string, upTo: number): void {
    for (const running of this.#calls.get(call) ?? []) running.grant(upTo);
  }

  /**
   * A reader, whose queue is `reader`, has missed items. One stream at most says them again, and only one whose answers go
   * to that queue. False if nothing is known of it any more.
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

  /** A message about it came back. */
  returned(call: string, message: string | undefined): void {
    for (const running of this.#calls.get(call) ?? []) {
      running.returned(message);
    }
  }
}

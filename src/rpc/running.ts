/** Calls that run here, by the ids that their callers gave them: strangers may have given the same. @module */

import { Register } from "../slots.ts";

/** One of them. */
export interface RunningCall {
  /** Nobody wants it any more. */
  end(reason: string): void;
  /** Items of its stream up to that number may come. */
  grant(upTo: number): void;
  /** Its caller has missed what came from that number on, of that run. False if it is not known here. */
  resume(from: number, run: string | undefined): boolean;
  /** A message to its caller came back: no queue took it. */
  returned(message: string | undefined): void;
}

/** All of one link. */
export class RunningCalls {
  readonly #calls = new Register<string, readonly RunningCall[]>();

  /** Known from now on. */
  add(call: string, running: RunningCall): void {
    const same = this.#calls.get(call);
    this.#calls.set(call, same ? [...same, running] : [running]);
  }

  /** Not any more. */
  remove(call: string, running: RunningCall): void {
    const same = this.#calls.get(call);
    if (same?.length === 1 && same[0] === running) this.#calls.delete(call);
    else if (same) {
      this.#calls.set(call, same.filter((other) => other !== running));
    }
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

  /** Its caller has missed items. False if nothing is known of it any more. */
  resume(call: string, from: number, run: string | undefined): boolean {
    const same = [...this.#calls.get(call) ?? []];
    return same.map((each) => each.resume(from, run)).includes(true);
  }

  /** A message about it came back. */
  returned(call: string, message: string | undefined): void {
    for (const running of this.#calls.get(call) ?? []) {
      running.returned(message);
    }
  }
}

/** Goodbyes to a broker: what is closed in order, as long as the broker answers. @module */
import { withDeadline } from "../../../async/deadline.ts";

/** Milliseconds that a broker has to answer one. */
const PATIENCE = 1_000;

const UNANSWERED = Symbol("unanswered");

/** The goodbyes of one link: a broker that is silent is not waited for again and again. */
export class Goodbyes {
  /** True while nothing has come since one was not answered in time. */
  #silent = false;

  /** Something came. */
  heard(): void {
    this.#silent = false;
  }

  /** Waits for an answer, `ms` at most; not at all while the broker is silent. False without an answer. */
  async answered(answer: Promise<unknown>, ms = PATIENCE): Promise<boolean> {
    const deadline = performance.now() + (this.#silent ? 0 : ms);
    try {
      await withDeadline(answer, { at: deadline }, () => UNANSWERED);
    } catch (error) {
      if (error !== UNANSWERED) return true; // refused, or the connection went first
      this.#silent = true;
      return false;
    }
    return true;
  }
}

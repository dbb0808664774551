/** A monotonic clock that jumps, for limits of the product that are long. */
import { setDeadline } from "../../src/async/timer_wheel.ts";

/** The monotonic clock of this process, until disposed. */
export interface JumpingClock extends Disposable {
  /** Lets so many milliseconds pass at once; resolves when all deadlines that have passed then are met. */
  jump(ms: number): Promise<void>;
}

/** Takes over the clock that all deadlines follow; timers of the platform are as before. */
export function jumpingClock(): JumpingClock {
  const now = performance.now;
  let ahead = 0;
  performance.now = () => now.call(performance) + ahead;
  return {
    jump(ms) {
      ahead += ms;
      return new Promise((met) => setDeadline(performance.now(), met));
    },
    [Symbol.dispose]: () => void (performance.now = now),
  };
}

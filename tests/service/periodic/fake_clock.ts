/** A clock that stands still until it is told to go on. */
import type { Clock } from "../../../src/service/periodic/clock.ts";

interface Sleeper {
  readonly at: number;
  readonly wake: (rested: boolean) => void;
}

/** Time for tests: whoever sleeps wakes in the order of the times, each with a turn of its own. */
export class FakeClock implements Clock {
  #now = 0;
  readonly #sleepers = new Set<Sleeper>();

  now(): number {
    return this.#now;
  }

  sleep(ms: number, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const sleeper: Sleeper = {
        at: this.#now + ms,
        wake: (rested) => {
          this.#sleepers.delete(sleeper);
          signal.removeEventListener("abort", interrupted);
          resolve(rested);
        },
      };
      const interrupted = () => sleeper.wake(false);
      signal.addEventListener("abort", interrupted);
      this.#sleepers.add(sleeper);
    });
  }

  /** Goes on by `ms`; resolves when all that wakes meanwhile has had its turn. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await turn();
    for (;;) {
      const due = [...this.#sleepers].filter(({ at }) => at <= end);
      const next = due.sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#now = Math.max(this.#now, next.at);
      next.wake(true);
      await turn();
    }
    this.#now = end;
  }
}

/** Everything that is ready to run has run. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

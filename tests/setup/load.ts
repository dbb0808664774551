/** Load for tests: calls at a steady rate, and what became of them. */
import { until } from "./probe.ts";

/** Calls at a steady rate, whatever the answers do. */
export class Load {
  /** Why calls failed. */
  readonly #failed: unknown[] = [];
  readonly #calls: Promise<void>[] = [];
  readonly #began = performance.now();
  readonly #timer: ReturnType<typeof setInterval>;
  #answered = 0;

  /** So many calls a second; `call` gets the number of each. */
  constructor(rate: number, call: (n: number) => Promise<void>) {
    this.#timer = setInterval(() => {
      const due = (performance.now() - this.#began) * rate / 1_000;
      while (this.#calls.length < due) {
        this.#calls.push(this.#call(call, this.#calls.length));
      }
    }, 5);
  }

  /** Resolves when so many more calls have been answered. */
  async answered(more: number): Promise<void> {
    const goal = this.#answered + more;
    const done = () => this.#answered >= goal || this.#failed.length > 0;
    await until(`${goal} answers`, done, 20_000);
  }

  /** Sends no more, and waits for every outcome. */
  async end() {
    clearInterval(this.#timer);
    const seconds = (performance.now() - this.#began) / 1_000;
    await Promise.all(this.#calls);
    const [sent, failed] = [this.#calls.length, this.#failed];
    return { sent, failed, answered: this.#answered, seconds };
  }

  async #call(call: (n: number) => Promise<void>, n: number): Promise<void> {
    try {
      await call(n);
      this.#answered++;
    } catch (error) {
      this.#failed.push(error);
    }
  }
}

/** One run of an instance: a Web Worker and the lines that it prints. @module */

/** Input of a run. */
export interface Program {
  /** Upper bound of the numbers that are tested. */
  readonly upTo: number;
}

/** Message from the Web Worker. */
export type Output = { readonly line: string } | { readonly finished: true };

/** State of a run. */
export type State = "running" | "finished" | "crashed" | "ended";

/** Runs a program in a Web Worker from construction until it finishes, crashes or is ended. */
export class Machine {
  readonly #worker: Worker;
  readonly #lines: string[] = [];
  #state: State = "running";
  /** Resolves at the next line or change of state; all open consoles wait for it. */
  #changed = Promise.withResolvers<void>();

  /** Starts the Web Worker. */
  constructor(program: Program) {
    const script = new URL("instance.ts", import.meta.url);
    this.#worker = new Worker(script, { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<Output>) => {
      if ("line" in data) this.#print(data.line);
      else this.#end("finished");
    };
    this.#worker.onerror = (event) => {
      event.preventDefault(); // else the crash of a guest would be the crash of its host
      this.#print(`crashed: ${event.message}`);
      this.#end("crashed");
    };
    this.#worker.postMessage(program);
  }

  /** Current state. */
  get state(): State {
    return this.#state;
  }

  /** Yields the lines so far, then each new one, until the run ends or the signal fires. */
  async *console(signal: AbortSignal): AsyncGenerator<string> {
    const left = new Promise<void>((resolve) => {
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    for (let seen = 0; !signal.aborted;) {
      const line = this.#lines[seen];
      if (line !== undefined) {
        seen++;
        yield line;
      } else if (this.#state !== "running") return;
      else await Promise.race([this.#changed.promise, left]);
    }
  }

  /** Terminates the Web Worker. May be called twice. */
  end(): void {
    this.#end("ended");
  }

  #print(line: string): void {
    this.#lines.push(line);
    this.#notifyReaders();
  }

  #end(state: State): void {
    if (this.#state !== "running") return;
    this.#state = state;
    this.#worker.terminate();
    this.#notifyReaders();
  }

  #notifyReaders(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

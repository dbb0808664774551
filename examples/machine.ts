/** One run of an instance: a Web Worker, and the lines that it prints. @module */

/** What an instance is told. */
export interface Program {
  /** Where to stop. */
  readonly upTo: number;
}

/** What an instance tells. */
export type Output = { readonly line: string } | { readonly finished: true };

/** How a run is, or how it ended. */
export type State = "running" | "finished" | "crashed" | "ended";

/** A machine runs from its making until it finishes, crashes or is ended. */
export class Machine {
  readonly #worker: Worker;
  readonly #lines: string[] = [];
  #state: State = "running";
  /** Resolves at the next change, for all who read the console. */
  #changed = Promise.withResolvers<void>();

  /** Begins to run. */
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

  /** How it is. */
  get state(): State {
    return this.#state;
  }

  /** The lines so far, then each new one, until the machine stops or the signal fires. */
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

  /** Ends it, whatever it does. Safe to call twice. */
  end(): void {
    this.#end("ended");
  }

  #print(line: string): void {
    this.#lines.push(line);
    this.#tell();
  }

  #end(state: State): void {
    if (this.#state !== "running") return;
    this.#state = state;
    this.#worker.terminate();
    this.#tell();
  }

  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** A worker's process, as its launcher sees it. @module */
import { clearDeadline, setDeadline } from "../../async/timer_wheel.ts";
import {
  DRAIN_COMMAND,
  READY_MARKER,
  WORKER_VARIABLE,
} from "../../config/worker_role.ts";
import { LastError, type LineWriter, toLines } from "./line_output.ts";

/** Milliseconds that output may come after its process: one that the worker had started may still hold the pipe. */
const OUTPUT_TIMEOUT_MS = 1_000;

/** How to start workers. */
export interface Program {
  /** Arguments for this Deno. */
  readonly args: readonly string[];
  /** Gets what they print. */
  readonly stdout: LineWriter;
  /** Gets what they print as errors. */
  readonly stderr: LineWriter;
}

/** One process of a worker. */
export class WorkerProcess {
  /** True when all its services have started; false if it ended before. */
  readonly ready: Promise<boolean>;
  /** Resolves when the process has ended. */
  readonly exited: Promise<Deno.CommandStatus>;
  /** Resolves when it has ended and all that it printed is through. */
  readonly ended: Promise<Deno.CommandStatus>;
  readonly #process: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #ready = Promise.withResolvers<boolean>();
  readonly #stopOutput = new AbortController();
  readonly #errors = new LastError();
  #alive = true;
  /** Times of `performance.now()`. */
  #servingSince: number | undefined;
  #endedAt: number | undefined;
  #draining = false;

  /** Starts the process of worker number `worker`; throws what Deno throws if it cannot. */
  constructor(worker: number, { args, stdout, stderr }: Program) {
    this.#process = new Deno.Command(Deno.execPath(), {
      args: [...args],
      env: { [WORKER_VARIABLE]: String(worker) },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#stdin = this.#process.stdin.getWriter();
    this.#stdin.closed.catch(() => {}); // it may end before it has read
    this.ready = this.#ready.promise;
    this.exited = this.#exit();
    const name = `[worker ${worker}] `;
    const note = (line: string) => this.#errors.note(line);
    const passed = [
      this.#forward(this.#process.stdout, stdout, name),
      this.#forward(this.#process.stderr, stderr, name, note),
    ];
    this.ended = this.#end(passed);
  }

  /** Its process. */
  get pid(): number {
    return this.#process.pid;
  }

  /** Whether the process runs. */
  get alive(): boolean {
    return this.#alive;
  }

  /** Whether its services have started, and it was not asked to end. */
  get serving(): boolean {
    return this.#servingSince !== undefined && this.#alive && !this.#draining;
  }

  /** Milliseconds from the start of its services to its end, or until now. */
  get servedMs(): number {
    const until = this.#endedAt ?? performance.now();
    return until - (this.#servingSince ?? until);
  }

  /** The last error that it printed. */
  get lastError(): string | undefined {
    return this.#errors.text;
  }

  /** Whether it was asked to end. */
  get draining(): boolean {
    return this.#draining;
  }

  /** Asks it to drain and end. Safe to call again, and after its end. */
  drain(): void {
    this.#draining = true;
    this.#stdin.write(new TextEncoder().encode(DRAIN_COMMAND)).catch(() => {});
  }

  /** Ends it at once. */
  kill(): void {
    if (this.#alive) this.#process.kill("SIGKILL");
  }

  /** What is passed on of a line. A program may have printed a part of a line when the worker said that it is ready. */
  #outputOf(line: string, name: string): string {
    if (!line.endsWith(READY_MARKER)) return `${name}${line}\n`;
    this.#servingSince ??= performance.now();
    this.#ready.resolve(true);
    const rest = line.slice(0, -READY_MARKER.length);
    return rest === "" ? "" : `${name}${rest}\n`;
  }

  async #exit(): Promise<Deno.CommandStatus> {
    const status = await this.#process.status;
    this.#alive = false;
    this.#endedAt = performance.now();
    this.#ready.resolve(false);
    this.#stdin.abort().catch(() => {});
    return status;
  }

  async #end(passed: readonly Promise<void>[]): Promise<Deno.CommandStatus> {
    const status = await this.exited;
    const late = setDeadline(
      performance.now() + OUTPUT_TIMEOUT_MS,
      () => this.#stopOutput.abort(),
    );
    await Promise.all(passed);
    clearDeadline(late);
    return status;
  }

  async #forward(
    from: ReadableStream<Uint8Array<ArrayBuffer>>,
    to: LineWriter,
    name: string,
    note: (line: string) => void = () => {},
  ): Promise<void> {
    const lines = toLines((lines) => {
      lines.forEach(note);
      const texts = lines.map((line) => this.#outputOf(line, name));
      return to.print(texts.join(""));
    });
    const text = from.pipeThrough(new TextDecoderStream());
    await text.pipeTo(lines, { signal: this.#stopOutput.signal }).catch(
      () => {},
    );
  }
}

/** Process of a worker, on the side of the launcher. @module */
import { clearDeadline, setDeadline } from "../../async/timer_wheel.ts";
import {
  DRAIN_COMMAND,
  METRICS_VARIABLE,
  parseReady,
  WORKER_VARIABLE,
} from "../../config/worker_role.ts";
import { LOOPBACK } from "../../names.ts";
import { LastError, type LineWriter, toLines } from "./line_output.ts";

/**
 * Milliseconds to read the rest of the output after the process has ended. A child process of the worker may keep the pipe
 * open.
 */
const OUTPUT_TIMEOUT_MS = 1_000;

/** Command of the workers, and the destinations of their output. */
export interface Program {
  /** Arguments of the `deno` command. */
  readonly args: readonly string[];
  /** True if the launcher reads their metrics. */
  readonly metrics: boolean;
  /** Receives their stdout. */
  readonly stdout: LineWriter;
  /** Receives their stderr. */
  readonly stderr: LineWriter;
}

/** One process of a worker. A worker has several in succession, and two at once while it is replaced. */
export class WorkerProcess {
  /** Resolves to true when all services have started, and to false if the process ends before. */
  readonly ready: Promise<boolean>;
  /** Resolves when the process has ended. */
  readonly exited: Promise<Deno.CommandStatus>;
  /** Resolves when the process has ended and all its output has been forwarded. */
  readonly ended: Promise<Deno.CommandStatus>;
  readonly #process: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #ready = Promise.withResolvers<boolean>();
  readonly #stopOutput = new AbortController();
  readonly #errors = new LastError();
  #alive = true;
  /** Time of `performance.now()` at which all services had started. */
  #servingSince: number | undefined;
  /** Time of `performance.now()` at which the process ended. */
  #endedAt: number | undefined;
  #draining = false;
  readonly #secret: string | undefined;
  #metricsPort: number | undefined;

  /** Starts the process of worker number `worker`. Throws the error of Deno if that fails. */
  constructor(worker: number, { args, metrics, stdout, stderr }: Program) {
    this.#secret = metrics ? crypto.randomUUID() : undefined;
    this.#process = new Deno.Command(Deno.execPath(), {
      args: [...args],
      env: {
        [WORKER_VARIABLE]: String(worker),
        ...(this.#secret && { [METRICS_VARIABLE]: this.#secret }),
      },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#stdin = this.#process.stdin.getWriter();
    this.#stdin.closed.catch(() => {}); // the process may end before it has read the command
    this.ready = this.#ready.promise;
    this.exited = this.#exit();
    const name = `[worker ${worker}] `;
    const note = (line: string) => this.#errors.note(line);
    const outputs = [
      this.#forward(this.#process.stdout, stdout, name),
      this.#forward(this.#process.stderr, stderr, name, note),
    ];
    this.ended = this.#end(outputs);
  }

  /** Number of the process on this host. */
  get pid(): number {
    return this.#process.pid;
  }

  /** True while the process runs. */
  get alive(): boolean {
    return this.#alive;
  }

  /** True from the start of its services until it drains or ends. */
  get serving(): boolean {
    return this.#servingSince !== undefined && this.#alive && !this.#draining;
  }

  /** Milliseconds from the start of its services to its end, or to now. */
  get servedMs(): number {
    const until = this.#endedAt ?? performance.now();
    return until - (this.#servingSince ?? until);
  }

  /** URL of the metrics of the process; undefined before its services have started, and if it has none. */
  get metricsUrl(): string | undefined {
    const port = this.#metricsPort;
    return port === undefined ? undefined : `http://${LOOPBACK}:${port}`;
  }

  /** Last error that the process printed. */
  get lastError(): string | undefined {
    return this.#errors.text;
  }

  /** True once the process was asked to drain. */
  get draining(): boolean {
    return this.#draining;
  }

  /** Asks the process to drain and end. Has no effect after its end. */
  drain(): void {
    this.#draining = true;
    this.#stdin.write(new TextEncoder().encode(DRAIN_COMMAND)).catch(() => {});
  }

  /** Kills the process. */
  kill(): void {
    if (this.#alive) this.#process.kill("SIGKILL");
  }

  /**
   * Returns the output for a line. The ready marker is removed; the program may have printed the beginning of the same
   * line.
   */
  #outputOf(line: string, name: string): string {
    const ready = parseReady(line, this.#secret);
    if (!ready) return `${name}${line}\n`;
    this.#servingSince ??= performance.now();
    this.#metricsPort ??= ready.metricsPort;
    this.#ready.resolve(true);
    return ready.output === "" ? "" : `${name}${ready.output}\n`;
  }

  /** Waits for the end of the process and records it. */
  async #exit(): Promise<Deno.CommandStatus> {
    const status = await this.#process.status;
    this.#alive = false;
    this.#endedAt = performance.now();
    this.#ready.resolve(false);
    this.#stdin.abort().catch(() => {});
    return status;
  }

  /** Waits for the end of the process and of its output. */
  async #end(outputs: readonly Promise<void>[]): Promise<Deno.CommandStatus> {
    const status = await this.exited;
    const timer = setDeadline(
      performance.now() + OUTPUT_TIMEOUT_MS,
      () => this.#stopOutput.abort(),
    );
    await Promise.all(outputs);
    clearDeadline(timer);
    return status;
  }

  /** Forwards the lines of a stream with the name of the worker before each. */
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

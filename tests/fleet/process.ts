/** Processes of the fleet, whose output can be waited for. */
import { TextLineStream } from "./lines.ts";

/** A running process. Disposal kills it, if it still runs. */
export class FleetProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  readonly #lines: string[] = [];
  #changed: PromiseWithResolvers<void> = Promise.withResolvers();
  #ended = false;

  constructor(
    host: string,
    url: string,
    flags: readonly string[] = [],
    program = "./worker.ts",
  ) {
    const script = new URL(program, import.meta.url).pathname;
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", script, url, host, ...flags],
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#reading = this.#read();
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Resolves when a line that begins so has been printed. */
  async printed(start: string): Promise<void> {
    while (!this.#lines.some((line) => line.startsWith(start))) {
      if (this.#ended) throw new Error(`Ended without printing "${start}"`);
      await this.#changed.promise;
    }
  }

  /** Lines printed so far that begin so. */
  count(start: string): number {
    return this.#lines.filter((line) => line.startsWith(start)).length;
  }

  /** The numbers of the lines that begin so. */
  numbers(start: string): number[] {
    const lines = this.#lines.filter((line) => line.startsWith(start));
    return lines.map((line) => Number(line.slice(start.length)));
  }

  kill(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Resolves to the exit code. */
  async exit(): Promise<number> {
    await this.#reading;
    return (await this.#child.status).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) this.#child.kill("SIGKILL");
    await this.exit();
  }

  async #read(): Promise<void> {
    const lines = this.#child.stdout.pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream());
    for await (const line of lines) this.#tell(() => this.#lines.push(line));
    this.#tell(() => this.#ended = true);
  }

  #tell(change: () => void): void {
    change();
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** A worker that takes messages. */
export async function startWorker(
  host: string,
  url: string,
  flags?: readonly string[],
  program?: string,
): Promise<FleetProcess> {
  const worker = new FleetProcess(host, url, flags, program);
  await worker.printed("ready");
  return worker;
}

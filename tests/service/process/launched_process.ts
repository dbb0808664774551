/** A launcher and its workers as a test sees them: their output, and who of them runs. */
import { TextLineStream } from "../../fleet/lines.ts";
import type { Bus } from "../../rpc/support.ts";
import { isAlive } from "../../setup/guard.ts";
import { until } from "../../setup/probe.ts";

/** Whether a process runs. One that has ended and that nobody has reaped yet does not. */
export function runs(pid: number): boolean {
  if (!isAlive(pid)) return false;
  if (Deno.build.os !== "linux") return true;
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    return !/\) [ZX]/.test(stat);
  } catch {
    return false;
  }
}

/** How to launch. */
export interface Launching {
  readonly workers: number;
  /** A group of its own, so that a signal to the group does not reach the test. */
  readonly group?: boolean;
  /** While there is such a file, workers die at birth. */
  readonly file?: string;
  /** Where the launcher answers for health; its workers do so on the ports after it. */
  readonly port?: number;
}

/** A running `launched.ts`. Disposal kills what still runs of it. */
export class Launched implements AsyncDisposable {
  /** All lines printed so far, on stdout and stderr. */
  readonly lines: string[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<unknown>;

  constructor(
    { url, topic }: Pick<Bus, "url" | "topic">,
    { workers, group = false, file = "/none", port }: Launching,
  ) {
    const script = new URL("launched.ts", import.meta.url).pathname;
    const args = ["run", "-A", script, url, topic, String(workers)];
    this.#child = new Deno.Command(Deno.execPath(), {
      args: [...args, file, ...(port ? [String(port)] : [])],
      stdin: "piped", // it ends when this ends
      stdout: "piped",
      stderr: "piped",
      detached: group,
    }).spawn();
    const { stdout, stderr } = this.#child;
    this.#reading = Promise.all([this.#read(stdout), this.#read(stderr)]);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** What followed the word, in all lines of a worker, or of all: `said("serving")` gives process ids. */
  said(word: string, worker?: number): number[] {
    const start = new RegExp(`^\\[worker ${worker ?? "\\d+"}\\] ${word} `);
    return this.lines.filter((line) => start.test(line))
      .map((line) => Number(line.replace(start, "")));
  }

  /** Resolves when so many workers have said it. */
  async heard(word: string, count: number, worker?: number): Promise<void> {
    await until(
      `${count} × ${word}, in:\n${this.lines.join("\n")}`,
      () => this.said(word, worker).length >= count,
      20_000,
    );
  }

  kill(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Resolves to the exit code, when all output has come. */
  async exit(): Promise<number> {
    const { code } = await this.#child.status;
    await this.#reading;
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (runs(this.pid)) this.kill("SIGKILL");
    await this.#child.stdin.close().catch(() => {});
    await this.#child.status;
    for (const pid of this.said("born")) {
      if (runs(pid)) Deno.kill(pid, "SIGKILL");
    }
    await this.#reading;
  }

  async #read(from: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    const lines = from.pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream());
    for await (const line of lines) this.lines.push(line);
  }
}

/** Processes of the fault matrix: they tell lines of JSON, obey orders on stdin, and end when the runner does. */
import { TextLineStream } from "../fleet/lines.ts";
import { isAlive, signal } from "../setup/guard.ts";
import { until } from "../setup/probe.ts";
import { type Line, now, type Told } from "./history.ts";

const alive = new Set<ChaosProcess>();

/** Kills whatever of them still runs, stopped ones too: for a runner that was interrupted. */
export function killAll(): void {
  for (const { pid } of alive) signal(pid, "SIGKILL");
}

/** A line of the history; undefined for what a kill cut off, and for what is none. */
function parsed(text: string): Told | undefined {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A worker or a caller. Disposal kills it, if it still runs. */
export class ChaosProcess implements AsyncDisposable {
  /** Its name in the history. */
  readonly name: string;
  /** Resolves to its exit code when all it told has been read. */
  readonly ended: Promise<number>;
  /** Whether its end was meant. */
  expected = false;
  /** The signal that was meant to end it. */
  endedBy: "SIGTERM" | "SIGKILL" | undefined;
  /** Its exit code, when it has ended. */
  code: number | undefined;
  readonly #child: Deno.ChildProcess;
  readonly #orders: WritableStreamDefaultWriter<Uint8Array>;
  readonly #told = new Set<string>();

  /** Runs a script of this folder; `hear` gets its lines. */
  constructor(
    name: string,
    script: string,
    settings: object,
    hear: (line: Line) => void,
    env: Readonly<Record<string, string>> = {},
  ) {
    this.name = name;
    const path = new URL(script, import.meta.url).pathname;
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", path, JSON.stringify(settings)],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
      env,
    }).spawn();
    alive.add(this);
    this.#orders = this.#child.stdin.getWriter();
    this.ended = this.#read(hear);
  }

  /** Its process id. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Gives it an order, unless it has ended. */
  order(order: object): void {
    const bytes = new TextEncoder().encode(`${JSON.stringify(order)}\n`);
    this.#orders.write(bytes).catch(() => {});
  }

  /** Resolves when it has told a line of that kind; fails if it ends before, or after `ms`. */
  async told(kind: Told["t"], ms = 60_000): Promise<void> {
    await until(`${this.name} tells "${kind}"`, () => {
      if (this.#told.has(kind)) return true;
      if (this.code === undefined) return false;
      throw new Error(`${this.name} ended before it told "${kind}"`);
    }, ms);
  }

  /** Sends it a signal. */
  signal(name: Deno.Signal): void {
    if (isAlive(this.pid) && this.code === undefined) signal(this.pid, name);
  }

  /** Ends it on purpose; resolves to its exit code. */
  async end(name: "SIGTERM" | "SIGKILL"): Promise<number> {
    this.expected = true;
    if (this.code === undefined) this.endedBy = name;
    this.signal(name);
    return await this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end("SIGKILL");
  }

  async #read(hear: (line: Line) => void): Promise<number> {
    const lines = this.#child.stdout.pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream());
    for await (const text of lines) {
      const told = parsed(text);
      if (!told) continue;
      this.#told.add(told.t);
      hear({ ...told, from: this.name, seen: now() });
    }
    const { code } = await this.#child.status;
    alive.delete(this);
    await this.#orders.close().catch(() => {});
    return this.code = code;
  }
}

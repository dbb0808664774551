/** A process of a peer: it obeys, one order at a time, and is measured from outside. */
import { TextLineStream } from "../fleet/lines.ts";
import type { Order, Told } from "./orders.ts";

/** Milliseconds that an order may take, beyond what it is told to take. */
const PATIENCE = 60_000;
/** Milliseconds more for each request of a number that is asked for. */
const EACH = 0.2;
/** Milliseconds that a peer may take to leave. */
const GOODBYE = 5_000;
/** Milliseconds of a tick in `/proc/<pid>/stat`. */
const TICK = 10;

/** How a process is started. */
export interface Command {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** A server or a client. Disposal ends it. */
export class Peer implements AsyncDisposable {
  /** Milliseconds from the start of the process until it was ready. */
  readonly coldStart: number;
  readonly #child: Deno.ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #orders: WritableStreamDefaultWriter<Uint8Array>;
  /** Milliseconds that the next line may take. */
  #patience = PATIENCE;

  private constructor(
    child: Deno.ChildProcess,
    lines: AsyncIterator<string>,
    coldStart: number,
  ) {
    this.#child = child;
    this.#lines = lines;
    this.#orders = child.stdin.getWriter();
    this.coldStart = coldStart;
  }

  /** Starts one; resolves when it is ready. */
  static async start({ program, args, env }: Command): Promise<Peer> {
    const began = performance.now();
    const child = new Deno.Command(program, {
      args: [...args],
      env,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const lines = child.stdout.pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream())[Symbol.asyncIterator]();
    const peer = new Peer(child, lines, await ready(lines, args, began));
    return peer;
  }

  /** Gives an order, and waits for the line that answers it. */
  async ask(order: Order): Promise<Told> {
    const count = "count" in order ? order.count : 0;
    this.#patience = PATIENCE + count * EACH;
    const bytes = new TextEncoder().encode(`${JSON.stringify(order)}\n`);
    await this.#orders.write(bytes);
    return await this.told();
  }

  /** The next line. */
  async told(): Promise<Told> {
    return await next(this.#lines, this.#patience);
  }

  /** Milliseconds of processor time so far. */
  get cpu(): number {
    const stat = Deno.readTextFileSync(`/proc/${this.#child.pid}/stat`);
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * TICK;
  }

  /** The most memory that it has had, in MiB. */
  get peak(): number {
    const status = Deno.readTextFileSync(`/proc/${this.#child.pid}/status`);
    return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#orders.close().catch(() => {});
    const kill = setTimeout(() => this.#child.kill("SIGKILL"), GOODBYE);
    await this.#child.status;
    clearTimeout(kill);
  }
}

async function ready(
  lines: AsyncIterator<string>,
  args: readonly string[],
  began: number,
): Promise<number> {
  const { ready } = await next(lines);
  if (!ready) throw new Error(`Not ready: ${args.join(" ")}`);
  return performance.now() - began;
}

async function next(
  lines: AsyncIterator<string>,
  patience = PATIENCE,
): Promise<Told> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`A peer told nothing for ${patience} ms`)),
    patience,
  );
  try {
    const line = await Promise.race([lines.next(), late.promise]);
    if (line.done) throw new Error("A peer ended by itself");
    return JSON.parse(line.value);
  } finally {
    clearTimeout(timer);
  }
}

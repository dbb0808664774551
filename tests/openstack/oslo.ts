/** The real oslo.messaging, in a Python process of its own. */
import { TextLineStream } from "../fleet/lines.ts";
import { until } from "../setup/probe.ts";
import { findOslo } from "../setup/oslo.ts";

/** A Python that has oslo.messaging; undefined where there is none. */
export const osloPython: string | undefined = findOslo();

/** What a peer is told to do; see `oslo_peer.py`. */
export type Command = Readonly<Record<string, unknown>> & {
  readonly do: string;
};

/** An error as Python had it. */
export interface PythonError {
  readonly type: string;
  readonly module: string;
  readonly message: string;
  readonly exc_type: string | null;
  readonly kwargs: Readonly<Record<string, unknown>>;
}

interface Line {
  readonly id?: number;
  readonly event?: string;
  readonly result?: unknown;
  readonly error?: PythonError;
}

/** What a peer says went wrong. */
export class PeerError extends Error {
  readonly error: PythonError;
  constructor(error: PythonError) {
    super(`${error.module}.${error.type}: ${error.message}`);
    this.error = error;
  }
}

/** A running peer. Disposal ends it. */
export class OsloPeer implements AsyncDisposable {
  /** What happened by itself. */
  readonly events: Readonly<Record<string, unknown>>[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reading: Promise<unknown>;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #commands = 0;
  #errors = "";
  #over = false;

  private constructor(url: string, exchange: string, options: string[]) {
    const folder = new URL("./", import.meta.url).pathname;
    this.#child = new Deno.Command(String(osloPython), {
      args: ["oslo_peer.py", url, exchange, ...options],
      cwd: folder,
      env: { PYTHONDONTWRITEBYTECODE: "1" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#stdin = this.#child.stdin.getWriter();
    this.#reading = Promise.all([this.#read(), this.#readErrors()]);
  }

  /** Starts one; resolves when it takes commands. */
  static async start(
    url: string,
    exchange: string,
    options: readonly string[] = [],
  ): Promise<OsloPeer> {
    // Both schemes mean the same; a trailing slash is the virtual host "/".
    const own = `${url.replace(/^amqp:/, "rabbit:")}/`;
    const peer = new OsloPeer(own, exchange, [...options]);
    await peer.event("the peer is ready", ({ event }) => event === "ready");
    return peer;
  }

  /** Does something; resolves to its result, or fails with a {@linkcode PeerError}. */
  async perform(command: Command): Promise<unknown> {
    const id = ++this.#commands;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(id, waiting);
    const line = `${JSON.stringify({ ...command, id })}\n`;
    await this.#stdin.write(new TextEncoder().encode(line));
    return await waiting.promise;
  }

  /** What happened by itself, as soon as it has. */
  async event(
    what: string,
    is: (event: Readonly<Record<string, unknown>>) => boolean,
  ): Promise<Readonly<Record<string, unknown>>> {
    return await until(what, () => {
      if (this.#over) throw new Error(`The peer ended: ${this.#errors}`);
      return this.events.find(is);
    }, 20_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#over) return;
    await this.#stdin.close().catch(() => {});
    this.#child.kill("SIGKILL");
    await this.#child.status;
    await this.#reading;
  }

  async #read(): Promise<void> {
    const lines = this.#child.stdout.pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream());
    for await (const text of lines) this.#take(JSON.parse(text));
    this.#over = true;
    for (const { reject } of this.#waiting.values()) {
      reject(new Error("The peer ended"));
    }
  }

  /** It logs each exception of an endpoint, and why it ended. */
  async #readErrors(): Promise<void> {
    const text = this.#child.stderr.pipeThrough(new TextDecoderStream());
    for await (const part of text) {
      this.#errors = (this.#errors + part).slice(-1_000);
    }
  }

  #take({ id, result, error, ...event }: Line): void {
    if (id === undefined) return void this.events.push(event);
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) waiting?.reject(new PeerError(error));
    else waiting?.resolve(result);
  }
}

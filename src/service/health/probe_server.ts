/**
 * HTTP for probes, over plain sockets: `Deno.serve` bounds neither its connections nor their time, and an error of its
 * accept ends the process. @module
 */
import { clearDeadline, setDeadline } from "../../async/timer_wheel.ts";
import { logger } from "../../logging.ts";
import { delay } from "../../async/deadline.ts";
import { type ProbeHandler, serveProbe } from "./probe_http.ts";

/** Connections at once; a further one takes the place of the oldest. */
const CONNECTIONS = 64;
/** Milliseconds that a connection has for its request and the answer. */
const LIFETIME = 10_000;
/** Milliseconds until the next accept after one that failed. */
const REFUSED = 200;
/** Bytes of a body that are read and dropped at once. */
const REST = 8_192;

/** Answers one request on each connection until disposed. */
export class ProbeServer implements AsyncDisposable {
  readonly #listener: Deno.TcpListener;
  readonly #answer: ProbeHandler;
  /** Connections, the oldest first. */
  readonly #open = new Set<Deno.TcpConn>();
  readonly #stop = new AbortController();
  readonly #accepting: Promise<void>;

  /** Listens; throws what `Deno.listen` throws if it cannot. */
  constructor(
    { port, hostname }: { readonly port: number; readonly hostname: string },
    answer: ProbeHandler,
  ) {
    this.#listener = Deno.listen({ port, hostname });
    this.#answer = answer;
    this.#accepting = this.#accept();
  }

  /** Its address and port. */
  get addr(): Deno.NetAddr {
    return this.#listener.addr as Deno.NetAddr;
  }

  /** Closes the port and all connections: an answer under way is with the system already. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#listener.close();
    for (const connection of this.#open) this.#close(connection);
    await this.#accepting;
  }

  async #accept(): Promise<void> {
    const { signal } = this.#stop;
    let refused = false;
    while (!signal.aborted) {
      try {
        this.#take(await this.#listener.accept());
        refused = false;
      } catch (error) {
        if (signal.aborted) return;
        if (!refused) logRefused(error);
        refused = true;
        this.#closeOldest(); // the process may have too many open files
        await delay(REFUSED, { at: Infinity, signal }).catch(() => {});
      }
    }
  }

  #take(connection: Deno.TcpConn): void {
    if (this.#open.size >= CONNECTIONS) this.#closeOldest();
    this.#open.add(connection);
    const close = () => this.#close(connection);
    const late = setDeadline(performance.now() + LIFETIME, close);
    // A connection that fails, or is closed meanwhile, concerns nobody.
    this.#converse(connection).catch(() => {}).finally(() => {
      clearDeadline(late);
      close();
    });
  }

  async #converse(connection: Deno.TcpConn): Promise<void> {
    if (!await serveProbe(connection, this.#answer)) return;
    await connection.closeWrite();
    // Closing before the client's body is read would reset the connection, and the answer could be lost.
    const rest = new Uint8Array(REST);
    while (await connection.read(rest) !== null);
  }

  #closeOldest(): void {
    for (const oldest of this.#open) return this.#close(oldest);
  }

  #close(connection: Deno.TcpConn): void {
    if (this.#open.delete(connection)) connection.close();
  }
}

/** Leaves the error's stack out: Deno reads files for it, and panics where none can be opened. */
function logRefused(error: unknown): void {
  const reason = error instanceof Error ? error.message : error;
  const text = "No connection for health can be accepted: {reason}";
  logger("service").error(text, { reason });
}

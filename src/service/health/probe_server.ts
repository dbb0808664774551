/**
 * HTTP for probes, over plain sockets: `Deno.serve` bounds neither its connections nor their time, and an error of its
 * accept ends the process. @module
 */
import { clearDeadline, setDeadline } from "../../async/timer_wheel.ts";
import { logger } from "../../logging.ts";
import { delay } from "../../async/deadline.ts";
import { type ProbeHandler, serveProbe } from "./probe_http.ts";

/** Connections at once; a further one takes the place of the oldest. */
const MAX_CONNECTIONS = 64;
/** Milliseconds that a connection has for its request and the answer. */
const CONNECTION_LIFETIME_MS = 10_000;
/** Milliseconds until the next accept after one that failed. */
const ACCEPT_RETRY_DELAY_MS = 200;
/** Bytes of a body that are read and dropped at once. */
const BODY_BUFFER_BYTES = 8_192;

/** Answers one request on each connection until disposed. */
export class ProbeServer implements AsyncDisposable {
  readonly #listener: Deno.TcpListener;
  readonly #handler: ProbeHandler;
  /** Connections, the oldest first. */
  readonly #open = new Set<Deno.TcpConn>();
  readonly #disposed = new AbortController();
  readonly #accepting: Promise<void>;

  /** Listens; throws what `Deno.listen` throws if it cannot. */
  constructor(
    { port, hostname }: { readonly port: number; readonly hostname: string },
    answer: ProbeHandler,
  ) {
    this.#listener = Deno.listen({ port, hostname });
    this.#handler = answer;
    this.#accepting = this.#accept();
  }

  /** Its address and port. */
  get addr(): Deno.NetAddr {
    return this.#listener.addr as Deno.NetAddr;
  }

  /** Closes the port and all connections: an answer under way is with the system already. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    this.#listener.close();
    for (const connection of this.#open) this.#close(connection);
    await this.#accepting;
  }

  async #accept(): Promise<void> {
    const { signal } = this.#disposed;
    let failing = false;
    while (!signal.aborted) {
      try {
        this.#admit(await this.#listener.accept());
        failing = false;
      } catch (error) {
        if (signal.aborted) return;
        if (!failing) logAcceptFailure(error);
        failing = true;
        this.#closeOldest(); // the process may have too many open files
        await delay(ACCEPT_RETRY_DELAY_MS, { at: Infinity, signal }).catch(
          () => {},
        );
      }
    }
  }

  #admit(connection: Deno.TcpConn): void {
    if (this.#open.size >= MAX_CONNECTIONS) this.#closeOldest();
    this.#open.add(connection);
    const close = () => this.#close(connection);
    const timer = setDeadline(
      performance.now() + CONNECTION_LIFETIME_MS,
      close,
    );
    // A connection that fails, or is closed meanwhile, concerns nobody.
    this.#serve(connection).catch(() => {}).finally(() => {
      clearDeadline(timer);
      close();
    });
  }

  async #serve(connection: Deno.TcpConn): Promise<void> {
    if (!await serveProbe(connection, this.#handler)) return;
    await connection.closeWrite();
    // Closing before the client's body is read would reset the connection, and the answer could be lost.
    const rest = new Uint8Array(BODY_BUFFER_BYTES);
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
function logAcceptFailure(error: unknown): void {
  const reason = error instanceof Error ? error.message : error;
  const text = "No connection for health can be accepted: {reason}";
  logger("service").error(text, { reason });
}

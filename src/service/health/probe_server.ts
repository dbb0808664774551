/**
 * HTTP server for probes on plain sockets. `Deno.serve` is not used: it limits neither the number of connections nor their
 * lifetime, and an error while it accepts a connection ends the process.
 *
 * @module
 */
import { clearDeadline, setDeadline } from "../../async/timer_wheel.ts";
import { logger } from "../../logging.ts";
import { delay } from "../../async/deadline.ts";
import { type ProbeHandler, serveProbe } from "./probe_http.ts";

/** Maximum number of open connections; a further one closes the oldest. */
const MAX_CONNECTIONS = 64;
/** Milliseconds after which a connection is closed, even without a request or a response. */
const CONNECTION_LIFETIME_MS = 10_000;
/** Milliseconds between a failure to accept a connection and the next attempt. */
const ACCEPT_RETRY_DELAY_MS = 200;
/** Size of the buffer with which a request body is read and discarded. */
const BODY_BUFFER_BYTES = 8_192;

/** Responds to one request on each connection until disposed. */
export class ProbeServer implements AsyncDisposable {
  readonly #listener: Deno.TcpListener;
  readonly #handler: ProbeHandler;
  /** Open connections, the oldest first. */
  readonly #open = new Set<Deno.TcpConn>();
  readonly #disposed = new AbortController();
  readonly #accepting: Promise<void>;

  /** Listens on the port. Throws the error of `Deno.listen` if that fails. */
  constructor(
    { port, hostname }: { readonly port: number; readonly hostname: string },
    handler: ProbeHandler,
  ) {
    this.#listener = Deno.listen({ port, hostname });
    this.#handler = handler;
    this.#accepting = this.#accept();
  }

  /** Address and port of the server. */
  get addr(): Deno.NetAddr {
    return this.#listener.addr as Deno.NetAddr;
  }

  /** Closes the port and all connections. A response that was written is still sent by the operating system. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    this.#listener.close();
    for (const connection of this.#open) this.#close(connection);
    await this.#accepting;
  }

  /** Accepts connections until disposed. A series of failures is logged once. */
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
        this.#closeOldest(); // the process may have reached its limit of open files
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
    // Errors of a connection are ignored: the probe sees them itself.
    this.#serve(connection).catch(() => {}).finally(() => {
      clearDeadline(timer);
      close();
    });
  }

  async #serve(connection: Deno.TcpConn): Promise<void> {
    if (!await serveProbe(connection, this.#handler)) return;
    await connection.closeWrite();
    // The request body is read to its end: closing before would reset the connection, and the response could be lost.
    const discarded = new Uint8Array(BODY_BUFFER_BYTES);
    while (await connection.read(discarded) !== null);
  }

  #closeOldest(): void {
    for (const oldest of this.#open) return this.#close(oldest);
  }

  #close(connection: Deno.TcpConn): void {
    if (this.#open.delete(connection)) connection.close();
  }
}

/** Logs the message of an error without its stack. Deno reads files to build a stack, and panics if it cannot open any. */
function logAcceptFailure(error: unknown): void {
  const reason = error instanceof Error ? error.message : error;
  const text = "The health server cannot accept connections: {reason}";
  logger("service").error(text, { reason });
}

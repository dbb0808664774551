/** TCP and TLS sockets. @module */
import { once } from "node:events";
import type { ConnectionOptions, TLSSocket } from "node:tls";

/**
 * TLS settings. Certificates are always verified.
 * @category AMQP
 */
export interface TlsSettings {
  /** Certificates of trusted authorities, in PEM, beside those of the runtime. */
  readonly ca?: string | undefined;
  /** Certificate of the client, in PEM. */
  readonly cert?: string | undefined;
  /** Private key of the client, in PEM. */
  readonly key?: string | undefined;
  /** Name in the certificate of the broker; default: the host. */
  readonly servername?: string | undefined;
}

/** Address of a broker. */
export interface SocketAddress {
  /** Host name or IP address. */
  readonly hostname: string;
  /** Port. */
  readonly port: number;
  /** TLS settings; undefined for a connection without TLS. */
  readonly tls?: TlsSettings | undefined;
}

/** An open socket. */
export interface Socket {
  /** Reads bytes into a buffer; resolves to their number, or to null at the end. */
  read(into: Uint8Array): Promise<number | null>;
  /** Writes bytes; resolves to the number of bytes that were written. */
  write(bytes: Uint8Array): Promise<number>;
  /** Closes the socket. */
  close(): void;
  /** Keeps the process alive while the socket is open, which is the default. */
  ref(): void;
  /** Lets the process exit while the socket is open. */
  unref(): void;
}

/**
 * Opens a socket; `signal` cancels that.
 *
 * @throws {Error} the socket cannot be opened, the certificate is not trusted, or the reason of the signal.
 */
export async function openSocket(
  address: SocketAddress,
  signal: AbortSignal,
): Promise<Socket> {
  const { hostname, port, tls } = address;
  if (tls?.cert !== undefined) {
    return await openWithCertificate(address, tls, signal);
  }
  const tcp = await openTcp(hostname, port, signal);
  try {
    tcp.setNoDelay();
    tcp.setKeepAlive();
    return tls ? await startTls(tcp, hostname, tls, signal) : tcp;
  } catch (error) {
    closeSocket(tcp);
    throw error;
  }
}

/**
 * Milliseconds by which the cancellation of an attempt is delayed. `Deno.connect` loses a socket that is opened in the turn of
 * the event loop in which it is cancelled, and a broker that can be reached has answered by then.
 */
const CANCEL_DELAY_MS = 10;

/** Opens a TCP socket; closes it if the signal is aborted before it is open. */
async function openTcp(
  hostname: string,
  port: number,
  signal: AbortSignal,
): Promise<Deno.TcpConn> {
  const attempt = new AbortController();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const abort = () => {
    timer = setTimeout(() => attempt.abort(), CANCEL_DELAY_MS);
  };
  signal.throwIfAborted();
  signal.addEventListener("abort", abort);
  try {
    const options = { hostname, port, signal: attempt.signal };
    const tcp = await Deno.connect(options);
    if (!signal.aborted) return tcp;
    closeSocket(tcp);
    throw signal.reason;
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
}

/** Closes a socket, also one that is closed already. */
export function closeSocket(socket: Pick<Socket, "close">): void {
  try {
    socket.close();
  } catch {
    // it is closed already
  }
}

const authorities = (ca: string | undefined) =>
  ca === undefined ? {} : { caCerts: [ca] };

async function startTls(
  tcp: Deno.TcpConn,
  hostname: string,
  { ca, servername = hostname }: TlsSettings,
  signal: AbortSignal,
): Promise<Socket> {
  const options = { hostname: servername, ...authorities(ca) };
  const conn = await Deno.startTls(tcp, options);
  return await handshake(conn, signal);
}

/** Completes the TLS handshake, so that an untrusted certificate is an error here and not of the first read. */
async function handshake(
  conn: Deno.TlsConn,
  signal: AbortSignal,
): Promise<Socket> {
  const abort = () => closeSocket(conn);
  signal.addEventListener("abort", abort);
  try {
    signal.throwIfAborted();
    await conn.handshake();
    return conn;
  } catch (error) {
    abort();
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** Opens a socket with a certificate of the client. Only Node's interface takes a server name beside it. */
async function openWithCertificate(
  { hostname, port }: SocketAddress,
  tls: TlsSettings,
  signal: AbortSignal,
): Promise<Socket> {
  const { ca, cert = "", key = "", servername = hostname } = tls;
  if (servername !== hostname) {
    const options = { host: hostname, port, cert, key, servername };
    return await openNodeTls(
      ca === undefined ? options : { ...options, ca },
      signal,
    );
  }
  const options = { hostname, port, cert, key, ...authorities(ca) };
  const conn = await unlessAborted(Deno.connectTls(options), signal);
  return await handshake(conn, signal);
}

/** Resolves with a socket that is being opened, unless the signal is aborted: the socket is closed then once it is open. */
async function unlessAborted<S extends Pick<Socket, "close">>(
  opening: Promise<S>,
  signal: AbortSignal,
): Promise<S> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort);
  try {
    return await Promise.race([opening, aborted.promise]);
  } catch (error) {
    void opening.then(closeSocket, () => {});
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** Opens a socket through `node:tls`, which takes milliseconds to load and is rarely needed. */
async function openNodeTls(
  options: ConnectionOptions,
  signal: AbortSignal,
): Promise<Socket> {
  const { connect } = await import("node:tls");
  const stream = connect({ ...options, rejectUnauthorized: true });
  stream.setNoDelay(true);
  stream.setKeepAlive(true);
  const socket = new StreamSocket(stream);
  const abort = () => stream.destroy(signal.reason);
  signal.addEventListener("abort", abort);
  try {
    signal.throwIfAborted();
    await once(stream, "secureConnect");
    return socket;
  } catch (error) {
    stream.destroy();
    throw signal.aborted ? signal.reason : error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** A stream of Node as a socket. */
class StreamSocket implements Socket {
  readonly #stream: TLSSocket;
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();
  /** Error of the stream, which may come while nothing is read or written. */
  #failure: Error | undefined;

  constructor(stream: TLSSocket) {
    this.#stream = stream;
    stream.on("error", (error) => this.#failure = error);
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  async read(into: Uint8Array): Promise<number | null> {
    if (this.#rest.length === 0) {
      const { done, value } = await this.#chunks.next();
      if (this.#failure) throw this.#failure;
      if (done) return null;
      this.#rest = value;
    }
    const part = this.#rest.subarray(0, into.length);
    into.set(part);
    this.#rest = this.#rest.subarray(part.length);
    return part.length;
  }

  write(bytes: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#stream.write(
        bytes,
        (error) => error ? reject(error) : resolve(bytes.length),
      );
    });
  }

  close(): void {
    this.#stream.destroy();
  }

  ref(): void {
    this.#stream.ref();
  }

  unref(): void {
    this.#stream.unref();
  }
}

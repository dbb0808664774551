/** Opening of connections. @module */
import { Connection } from "./connection.ts";
import { connectError, timeoutError } from "./connection_errors.ts";
import { type ConnectOptions, targetOf } from "./connect_options.ts";
import { openSocket } from "./socket/socket.ts";

const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;

/**
 * Opens a connection to a URL `amqp://user:password@host:port/vhost` (or `amqps:`).
 *
 * @throws {AmqpError} the connection cannot be opened, or the broker refuses it.
 * @throws {TypeError} the URL is not one of AMQP.
 * @category AMQP
 */
export async function connect(
  url: string | URL,
  options: ConnectOptions = {},
): Promise<Connection> {
  const target = targetOf(url, options);
  const { connectTimeout = DEFAULT_CONNECT_TIMEOUT_MS, signal: stop } = options;
  stop?.throwIfAborted();
  const attempt = new AbortController();
  const abort = () => attempt.abort(stop?.reason);
  const expire = () => attempt.abort(timeoutError(connectTimeout));
  const timer = setTimeout(expire, connectTimeout);
  stop?.addEventListener("abort", abort);
  try {
    const socket = await openSocket(target, attempt.signal);
    const connection = new Connection(socket, options);
    attempt.signal.addEventListener(
      "abort",
      () => connection.destroy("the attempt to connect was given up"),
    );
    await connection.open(target);
    return connection;
  } catch (error) {
    throw attempt.signal.aborted ? attempt.signal.reason : connectError(error);
  } finally {
    clearTimeout(timer);
    stop?.removeEventListener("abort", abort);
  }
}

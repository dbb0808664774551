/** Options of an AMQP connection, and what a URL says of them. @module */
import type { Table } from "./codec/field_value.ts";
import type { TlsSettings } from "./socket/socket.ts";

/**
 * User and password of a connection.
 * @category AMQP
 */
export interface Login {
  /** User name. */
  readonly username: string;
  /** Password, or another secret that the broker accepts instead. */
  readonly password: string;
}

/**
 * Options of a connection.
 * @category AMQP
 */
export interface ConnectOptions {
  /** Login; `"external"` = the client certificate (SASL EXTERNAL). Default: that of the URL, or `guest`. */
  readonly login?: Login | "external" | undefined;
  /** TLS settings for `amqps:` URLs. */
  readonly tls?: TlsSettings | undefined;
  /** Seconds between heartbeats; 0 = none. Default: 60, or less if the broker proposes less. */
  readonly heartbeat?: number | undefined;
  /** Maximum number of bytes of a frame, 4096 or more; 0 = no limit. Default: 131 072, or less if the broker's is less. */
  readonly frameMax?: number | undefined;
  /** Maximum number of channels, up to 65 535. Default: 2047, or less if the broker's is less. */
  readonly channelMax?: number | undefined;
  /** Milliseconds until the attempt to connect is given up; default 10 000. */
  readonly connectTimeout?: number | undefined;
  /** Cancels the attempt to connect; has no effect once the connection is open. */
  readonly signal?: AbortSignal | undefined;
  /** Properties of the client, which the broker shows, e.g. `connection_name`. */
  readonly clientProperties?: Table | undefined;
  /** Called when the broker accepts no more messages, because it is short of memory or disk. Must not throw. */
  readonly onBlocked?: ((reason: string) => void) | undefined;
  /** Called when the broker accepts messages again. Must not throw. */
  readonly onUnblocked?: (() => void) | undefined;
  /** Called whenever something was received. Must not throw. */
  readonly onReceived?: (() => void) | undefined;
}

/** Address of a broker, and the login. */
export interface Target {
  readonly hostname: string;
  readonly port: number;
  readonly virtualHost: string;
  readonly login: Login | "external";
  readonly tls: TlsSettings | undefined;
}

const DEFAULT_LOGIN: Login = { username: "guest", password: "guest" };

/**
 * Reads a URL `amqp://user:password@host:port/vhost` (or `amqps:`), whose parts may be percent-encoded.
 *
 * @throws {TypeError} the URL is not one of AMQP; the error does not contain its user and password.
 */
export function targetOf(
  given: string | URL,
  { login, tls }: ConnectOptions,
): Target {
  const url = parse(given);
  const secure = url.protocol === "amqps:";
  if (!secure && url.protocol !== "amqp:") {
    throw new TypeError(
      `Invalid URL scheme ${url.protocol} give amqp: or amqps:`,
    );
  }
  return {
    hostname: url.hostname.replace(/^\[|\]$/g, "") || "localhost",
    port: Number(url.port) || (secure ? 5671 : 5672),
    virtualHost: decoded(url.pathname.slice(1)) || "/",
    login: login ?? loginOf(url),
    tls: secure ? tls ?? {} : undefined,
  };
}

function parse(url: string | URL): URL {
  try {
    return new URL(url);
  } catch {
    throw new TypeError(
      "Invalid URL: give amqp://user:password@host:port/vhost",
    );
  }
}

function loginOf({ username, password }: URL): Login {
  if (username === "" && password === "") return DEFAULT_LOGIN;
  return { username: decoded(username), password: decoded(password) };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new TypeError(
      "Invalid URL: a percent sign is not followed by two hexadecimal digits",
    );
  }
}

/**
 * TCP or TLS connection to a RabbitMQ node, opened by amqplib, with the error handling that amqplib leaves to its user.
 *
 * @module
 */
import process from "node:process";
import type { Duplex } from "node:stream";
import {
  type ChannelModel,
  connect,
  type Options,
  type SocketOptions,
} from "npm:amqplib@2.3.1";
import { ConnectionFailedError } from "../../../errors.ts";
import { logger } from "../../../logging.ts";
import type { Credentials, TlsOptions } from "../../transport.ts";
import { MASK } from "../../../redaction.ts";
import type { Login } from "./login.ts";
import {
  type AmqplibConnection,
  connectionOf,
} from "../amqplib/private_members.ts";
import type { GracefulClose } from "../amqplib/graceful_close.ts";
import { FrameReader } from "../amqplib/frame_reader.ts";
import { SocketWriter } from "../amqplib/outgoing.ts";

/**
 * Bytes in the buffer of the socket above which it is full; a buffer of this size is usually written within a turn of
 * the event loop.
 */
const HIGH_WATER_MARK_BYTES = 1024 * 1024;

/** Settings of a connection. */
export interface SocketSettings {
  /** Name that the broker shows for the connection. */
  readonly name: string;
  /** Seconds between heartbeats. */
  readonly heartbeat: number;
  /** Milliseconds until an attempt is given up. */
  readonly connectTimeout: number;
  /** TLS settings for `amqps:` URLs. */
  readonly tls?: TlsOptions | undefined;
  /** Graceful close of the transport. */
  readonly gracefulClose: GracefulClose;
}

/** An open connection. */
export interface Socket {
  /** Connection of amqplib, on which channels are opened. */
  readonly model: ChannelModel;
  /** Writes messages and acknowledgements. */
  readonly writer: SocketWriter;
  /** Reads frames. */
  readonly reader: FrameReader;
  /** Limits the wait for replies of the broker while something is closed. */
  readonly gracefulClose: GracefulClose;
  /** Resolves with the reason when the connection is closed, by either peer or the network. */
  readonly lost: Promise<Error>;
  /** Closes the connection gracefully; at once if the broker does not reply within a second. */
  close(): Promise<void>;
  /** Closes the socket at once; `lost` resolves with the reason. */
  drop(reason: string): void;
  /** Sets if the connection keeps the process alive. */
  setRef(alive: boolean): void;
}

/** Path with a usual name of a virtual host. Any other path may hold a misplaced password. */
const vhostPath = /^\/[\w.%-]*$/;

/** Formats a URL for errors and logs: without its user, its password and its query. */
export function displayUrl({ protocol, host, pathname }: URL): string {
  const path = vhostPath.test(pathname) ? pathname : "/…";
  return `${protocol}//${host}${pathname.length > 1 ? path : ""}`;
}

/** Writes all data of one turn of the event loop at once, instead of one write for each frame. */
function corkEachTurn(stream: Duplex): void {
  const write = stream.write;
  let corked = false;
  const uncork = () => {
    corked = false;
    stream.uncork();
  };
  stream.write = function (this: Duplex, ...args: Parameters<typeof write>) {
    if (!corked) {
      corked = true;
      stream.cork();
      process.nextTick(uncork);
    }
    return write.apply(this, args);
  } as typeof write;
}

/** Returns the user and the password of a URL, or RabbitMQ's default user if the URL has neither. */
function credentialsOf(url: URL): Credentials {
  const anonymous = url.username === "" && url.password === "";
  if (anonymous) return { username: "guest", password: "guest" };
  return {
    username: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
  };
}

function connectOptions(
  url: URL,
  { username, password }: Credentials,
  heartbeat: number,
): Options.Connect {
  return {
    protocol: url.protocol.slice(0, -1),
    hostname: url.hostname.replace(/^\[|\]$/g, "") || "localhost",
    port: Number(url.port) || (url.protocol === "amqps:" ? 5671 : 5672),
    username,
    password,
    vhost: url.pathname.slice(1) || "/",
    heartbeat,
  };
}

function socketOptions(
  { name, connectTimeout, tls }: SocketSettings,
  signal: AbortSignal,
): SocketOptions & { signal: AbortSignal; writableHighWaterMark: number } {
  const clientProperties = { connection_name: name, product: "warren" };
  const { ca, cert, key, servername } = tls ?? {}; // no other option is passed on, so that verification cannot be turned off
  const tlsOptions = Object.entries({ ca, cert, key, servername })
    .filter(([, value]) => value !== undefined);
  return {
    noDelay: true,
    writableHighWaterMark: HIGH_WATER_MARK_BYTES,
    keepAlive: true,
    signal,
    timeout: connectTimeout,
    clientProperties,
    ...Object.fromEntries(tlsOptions),
    rejectUnauthorized: true,
  };
}

/**
 * Returns a promise that resolves when the connection is closed. Listens at once, since an 'error' event without a
 * listener ends the process.
 */
function whenLost(model: ChannelModel): Promise<Error> {
  const log = logger("bus");
  return new Promise((resolve) => {
    let reason: Error | undefined;
    model.on("error", (error: Error) => reason ??= error);
    model.on(
      "handler-error",
      (error: Error) => log.error("A listener threw: {error}", { error }),
    );
    model.on(
      "close",
      (error?: Error) => resolve(reason ?? error ?? new Error("closed")),
    );
  });
}

/**
 * Opens a connection. `stop` cancels the attempt, and has no effect once the connection is open.
 *
 * @throws {ConnectionFailedError} the connection cannot be opened; the message does not contain the password.
 * `data.fatal` is true if another attempt is of no use, `data.refused` if the login or the virtual host is refused.
 */
export async function openSocket(
  { url, credentials = credentialsOf(url) }: Login,
  settings: SocketSettings,
  stop: AbortSignal,
): Promise<Socket> {
  const attempt = new AbortController();
  const giveUp = () => attempt.abort();
  stop.addEventListener("abort", giveUp);
  let model: ChannelModel;
  try {
    model = await connect(
      connectOptions(url, credentials, settings.heartbeat),
      socketOptions(settings, attempt.signal),
    );
  } catch (error) {
    throw connectError(url, credentials, error);
  } finally {
    stop.removeEventListener("abort", giveUp);
  }
  return socketOf(model, settings.gracefulClose);
}

function socketOf(model: ChannelModel, gracefulClose: GracefulClose): Socket {
  const lost = whenLost(model);
  const connection = connectionOf(model);
  const reader = new FrameReader(connection, gracefulClose);
  corkEachTurn(connection.stream);
  return {
    model,
    writer: new SocketWriter(connection),
    reader,
    gracefulClose,
    lost,
    close: () => {
      reader.close();
      return closeSocket(model, gracefulClose, connection, lost);
    },
    drop: (reason) => void connection.stream.destroy(new Error(reason)),
    setRef: (alive) => {
      const verb = alive ? "ref" : "unref";
      connection.stream[verb]?.();
      connection.heartbeater?.sendTimer?.[verb]?.();
      connection.heartbeater?.recvTimer?.[verb]?.();
    },
  };
}

async function closeSocket(
  model: ChannelModel,
  gracefulClose: GracefulClose,
  connection: AmqplibConnection,
  lost: Promise<Error>,
): Promise<void> {
  try {
    const replied = await gracefulClose.waitForReply(
      Promise.race([Promise.try(() => model.close()), lost]),
    );
    // with an error, since amqplib would notice a plain end only at the next heartbeat
    if (!replied) connection.stream.destroy(new Error("no reply to close"));
  } finally {
    connection.stream.destroy();
  }
}

/** Error text of amqplib for a login or a secret that the broker rejects. */
const loginRejected = /ACCESS[_-]REFUSED|NOT[_-]ALLOWED/;
/**
 * Error text of amqplib for a virtual host that is not opened. The reason is not in it: no permission, a virtual host
 * that is down, or too many connections.
 */
const vhostRejected = /Expected ConnectionOpenOk; got <ConnectionClose/;

/** True if the broker rejected a login or a secret, so that the network is not at fault. */
export const isLoginRejection = (reason: string): boolean =>
  loginRejected.test(reason);

/** Length of a secret below which a text that contains the secret is redacted as a whole. */
const MIN_REDACTED_LENGTH = 6;

/** Redacts a secret in an error text. */
export function withoutSecret(reason: string, secret: string): string {
  if (!reason.includes(secret) || secret === "") return reason;
  // Redacting only a letter or two would reveal them by the positions of the masks.
  return secret.length < MIN_REDACTED_LENGTH
    ? MASK
    : reason.replaceAll(secret, MASK);
}

/** Error texts of Deno where the process lacks the permission. */
const netDenied = /Requires net access|EPERM|NotCapable/;

function connectError(
  url: URL,
  { password }: Credentials,
  error: unknown,
): ConnectionFailedError {
  const reason = error instanceof Error
    ? error.message || String((error as { code?: string }).code)
    : String(error);
  const refused = isLoginRejection(reason);
  const net = netDenied.test(reason);
  const vhost = vhostRejected.test(reason);
  const hint = refused
    ? "; check the user, the password and the virtual host"
    : vhost
    ? "; the broker does not open the virtual host: check that it exists, that the user may use it, and that it is up and below its limits"
    : net
    ? `; the process needs the permission --allow-net=${url.host}`
    : "";
  const text = withoutSecret(reason, password);
  return new ConnectionFailedError(
    `Cannot connect to ${displayUrl(url)}: ${text}${hint}`,
    {
      data: {
        url: displayUrl(url),
        fatal: refused || vhost || net,
        refused,
      },
    },
  );
}

/** One TCP connection to a RabbitMQ node, opened by amqplib, with what amqplib leaves to its user. @module */
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
import { type Inner, innerOf } from "../amqplib/private_members.ts";
import type { Goodbyes } from "../amqplib/graceful_close.ts";
import { FrameReader } from "../amqplib/frame_reader.ts";
import { SocketWriter } from "../amqplib/outgoing.ts";

/** Bytes that wait to be written before the connection takes no more: what a turn of the event loop sends goes at once. */
const WRITABLE = 1024 * 1024;

/** How to open a socket. */
export interface SocketSettings {
  /** Name that the broker shows for the connection. */
  readonly name: string;
  /** Seconds between heartbeats. */
  readonly heartbeat: number;
  /** Milliseconds until an attempt is given up. */
  readonly connectTimeout: number;
  /** For `amqps:`. */
  readonly tls?: TlsOptions | undefined;
  /** Of the link. */
  readonly goodbyes: Goodbyes;
}

/** An open connection. */
export interface Socket {
  /** To open channels on. */
  readonly model: ChannelModel;
  /** To send messages on. */
  readonly outgoing: SocketWriter;
  /** Tells of what comes. */
  readonly incoming: FrameReader;
  /** How it is closed in order. */
  readonly goodbyes: Goodbyes;
  /** Resolves with the reason when it is gone, however it went. */
  readonly lost: Promise<Error>;
  /** Closes it in order; at once if the broker does not answer in a second. */
  close(): Promise<void>;
  /** Ends it at once, for a reason that `lost` then tells. */
  drop(reason: string): void;
  /** Whether it keeps the process alive. */
  hold(alive: boolean): void;
}

/** What a virtual host's name usually is. Anything else may be a password in the wrong place. */
const plainPath = /^\/[\w.%-]*$/;

/** A URL for an error or a log: without its user, its password and its query. */
export function displayUrl({ protocol, host, pathname }: URL): string {
  const path = plainPath.test(pathname) ? pathname : "/…";
  return `${protocol}//${host}${pathname.length > 1 ? path : ""}`;
}

/** One write for all that is sent in a turn of the event loop, in place of one for each message. */
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

/** The user and the password of a URL; RabbitMQ's own default where there is neither. */
function userOf(url: URL): Credentials {
  const anonymous = url.username === "" && url.password === "";
  if (anonymous) return { username: "guest", password: "guest" };
  return {
    username: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
  };
}

function target(
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
  const { ca, cert, key, servername } = tls ?? {}; // nothing else: no option turns verification off
  const given = Object.entries({ ca, cert, key, servername })
    .filter(([, value]) => value !== undefined);
  return {
    noDelay: true,
    writableHighWaterMark: WRITABLE,
    keepAlive: true,
    signal,
    timeout: connectTimeout,
    clientProperties,
    ...Object.fromEntries(given),
    rejectUnauthorized: true,
  };
}

/** Listens before anything else can happen: an 'error' without a listener ends the process. */
function lost(model: ChannelModel): Promise<Error> {
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
 * Opens a connection; `stop` ends the attempt, and nothing after it.
 *
 * @throws {ConnectionFailedError} without the password; `data.fatal` where trying again is of no use, `data.refused` where
 * it is the login or the virtual host that is refused.
 */
export async function openSocket(
  { url, credentials = userOf(url) }: Login,
  settings: SocketSettings,
  stop: AbortSignal,
): Promise<Socket> {
  const attempt = new AbortController();
  const giveUp = () => attempt.abort();
  stop.addEventListener("abort", giveUp);
  let model: ChannelModel;
  try {
    model = await connect(
      target(url, credentials, settings.heartbeat),
      socketOptions(settings, attempt.signal),
    );
  } catch (error) {
    throw refusal(url, credentials, error);
  } finally {
    stop.removeEventListener("abort", giveUp);
  }
  const gone = lost(model);
  const inner = innerOf(model);
  const { goodbyes } = settings;
  const incoming = new FrameReader(inner, goodbyes);
  corkEachTurn(inner.stream);
  return {
    model,
    outgoing: new SocketWriter(inner),
    incoming,
    goodbyes,
    lost: gone,
    close: () => {
      incoming.close();
      return closeSocket(model, goodbyes, inner, gone);
    },
    drop: (reason) => void inner.stream.destroy(new Error(reason)),
    hold: (alive) => {
      const verb = alive ? "ref" : "unref";
      inner.stream[verb]?.();
      inner.heartbeater?.sendTimer?.[verb]?.();
      inner.heartbeater?.recvTimer?.[verb]?.();
    },
  };
}

async function closeSocket(
  model: ChannelModel,
  goodbyes: Goodbyes,
  inner: Inner,
  gone: Promise<Error>,
): Promise<void> {
  try {
    const answered = await goodbyes.answered(
      Promise.race([Promise.try(() => model.close()), gone]),
    );
    // With an error, since amqplib would not notice a mere end before the next heartbeat.
    if (!answered) inner.stream.destroy(new Error("no answer to close"));
  } finally {
    inner.stream.destroy();
  }
}

/** A login or a secret that the broker refuses, in amqplib's words. */
const refusedLogin = /ACCESS[_-]REFUSED|NOT[_-]ALLOWED/;
/** A virtual host that is not opened. amqplib does not show why: it may be forbidden, down, or have too many connections. */
const refusedOpen = /Expected ConnectionOpenOk; got <ConnectionClose/;

/** True if the broker refused a login or a secret: it is no fault of the network. */
export const isRefusal = (reason: string): boolean => refusedLogin.test(reason);

/** Characters of a secret below which a text that has it is not shown at all. */
const SHORT = 6;

/** A reason without the secret, should anybody have put it there. */
export function withoutSecret(reason: string, secret: string): string {
  if (!reason.includes(secret) || secret === "") return reason;
  // To mask a letter or two would show them by the places of the masks.
  return secret.length < SHORT ? MASK : reason.replaceAll(secret, MASK);
}

/** What Deno says where the process lacks the permission. */
const refusedNet = /Requires net access|EPERM|NotCapable/;

function refusal(
  url: URL,
  { password }: Credentials,
  error: unknown,
): ConnectionFailedError {
  const reason = error instanceof Error
    ? error.message || String((error as { code?: string }).code)
    : String(error);
  const refused = isRefusal(reason);
  const net = refusedNet.test(reason);
  const unopened = refusedOpen.test(reason);
  const hint = refused
    ? "; check the user, the password and the virtual host"
    : unopened
    ? "; the broker does not open the virtual host: check that it exists, that the user may use it, and that it is up and below its limits"
    : net
    ? `; the process needs the permission --allow-net=${url.host}`
    : "";
  const said = withoutSecret(reason, password);
  return new ConnectionFailedError(
    `Cannot connect to ${displayUrl(url)}: ${said}${hint}`,
    {
      data: {
        url: displayUrl(url),
        fatal: refused || unopened || net,
        refused,
      },
    },
  );
}

/** Opening of a connection to a RabbitMQ node, and the errors of that. @module */
import { AmqpError, connect, type Connection } from "../../../amqp/mod.ts";
import { backoff } from "../../../async/backoff.ts";
import { ConnectionFailedError, InvalidValueError } from "../../../errors.ts";
import type { Credentials, TlsOptions } from "../../credentials.ts";
import { MASK } from "../../../redaction.ts";
import {
  type Access,
  type Login,
  loginOf,
  type LoginRejections,
} from "./login.ts";
import type { GracefulClose } from "./graceful_close.ts";

/** Times of the moves of a connection, in milliseconds. */
export interface MoveTimes {
  /** Minimum and maximum pause before each attempt to move. */
  readonly pauseMs: readonly [number, number];
  /** Time for the requests on an earlier connection, before it may be closed. */
  readonly settlingMs: number;
}

/** Settings of a connection. */
export interface DialSettings {
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
  /** Times of moves to the preferred node. */
  readonly moveTimes?: MoveTimes | undefined;
}

/** Milliseconds for the first attempt at each of several nodes: one that is frozen accepts the socket and never answers. */
const FIRST_TIMEOUT_MS = 3_000;

/** Returns the settings of an attempt, whose time limit is short at first if there are other nodes to try. */
export function settingsOf(
  settings: DialSettings,
  { nodes }: Pick<Login, "nodes">,
  attempt: number,
): DialSettings {
  if (nodes === 1) return settings;
  const round = Math.floor(attempt / nodes);
  const connectTimeout = Math.min(
    settings.connectTimeout,
    FIRST_TIMEOUT_MS * 2 ** round,
  );
  return { ...settings, connectTimeout };
}

/**
 * Milliseconds over which the clients of a lost node are spread when they connect to the others. Of 200 clients with two
 * connections each to three nodes, some 133 connections are lost with a node, so that about 67 are opened in a second. A
 * longer time would delay calls by more than 3 s: behind the requests of that time, new ones wait for their turn.
 */
const SPREAD_MS = 2_000;

/** Ends of a connection that other clients do not see at the same moment. */
const OWN_ENDS = new Set(["CLOSED", "HEARTBEAT_TIMEOUT"]);

/** Returns the milliseconds before the first attempt after a loss; those of a usual back-off if this client alone has lost its node. */
export function pauseAfterLoss(
  { code }: Pick<AmqpError, "code">,
  { nodes }: Pick<Login, "nodes">,
): number {
  const isShared = nodes > 1 && !OWN_ENDS.has(code);
  return isShared ? Math.random() * SPREAD_MS : backoff(0);
}

/** Path with a usual name of a virtual host. Any other path may hold a misplaced password. */
const vhostPath = /^\/[\w.%-]*$/;

/** Formats a URL for errors and logs: without its user, its password and its query. */
export function displayUrl({ protocol, host, pathname }: URL): string {
  const path = vhostPath.test(pathname) ? pathname : "/…";
  return `${protocol}//${host}${pathname.length > 1 ? path : ""}`;
}

/**
 * Opens a connection. `onBlocked` is called with a reason when the broker accepts no more messages, and without one when it
 * accepts them again. `stop` cancels the attempt, and has no effect once the connection is open.
 *
 * @throws {ConnectionFailedError} the connection cannot be opened; the message does not contain the password.
 * `data.fatal` is true if another attempt is of no use, `data.refused` if the login is refused.
 */
export async function dial(
  { url, credentials }: Login,
  { name, heartbeat, connectTimeout, tls, gracefulClose }: DialSettings,
  onBlocked: (reason?: string) => void,
  stop: AbortSignal,
): Promise<Connection> {
  try {
    return await connect(url, {
      login: credentials,
      tls,
      heartbeat,
      connectTimeout,
      signal: stop,
      clientProperties: { connection_name: name },
      onBlocked,
      onUnblocked: () => onBlocked(),
      onReceived: () => gracefulClose.onReceived(),
    });
  } catch (error) {
    throw connectError(url, credentials, error);
  }
}

/** An open connection, and its login. */
export interface OpenedConnection {
  readonly connection: Connection;
  readonly login: Login;
}

/** Opens connections to the nodes in turn. */
export class Dialer {
  readonly #access: Access;
  readonly #settings: DialSettings;
  readonly #onBlocked: (reason?: string) => void;
  readonly #stop: AbortSignal;
  /** Number of the next attempt, of which each has the next node. */
  #next = 0;
  #login: Login | undefined;

  /** Opens nothing yet. `onBlocked` and `stop` are those of `dial`. */
  constructor(
    access: Access,
    settings: DialSettings,
    onBlocked: (reason?: string) => void,
    stop: AbortSignal,
  ) {
    this.#access = access;
    this.#settings = settings;
    this.#onBlocked = onBlocked;
    this.#stop = stop;
  }

  /** Opens a connection to the next node; throws as `dial`. `attempt` is the number of earlier attempts since a loss. */
  async next(attempt: number): Promise<OpenedConnection> {
    return await this.#open(this.#next++, attempt);
  }

  /** Opens a connection to the preferred node; throws as `dial`. */
  async preferred(): Promise<OpenedConnection> {
    return await this.#open(0, 0);
  }

  /** Returns credentials, if they are not those of the URLs. */
  get getCredentials(): Access["credentials"] {
    return this.#access.credentials;
  }

  /** Login of the connection in use, or of the last one. */
  get login(): Login | undefined {
    return this.#login;
  }

  /** Times of moves to the preferred node. */
  get moveTimes(): MoveTimes | undefined {
    return this.#settings.moveTimes;
  }

  /** True if the connection in use is one to the preferred node. */
  get isAtPreferred(): boolean {
    return (this.#login?.place ?? 0) === 0;
  }

  /** Notes that a connection is in use, so that the node after its node is the next. */
  used({ login }: OpenedConnection): void {
    this.#login = login;
    this.#next = login.place + 1;
  }

  async #open(node: number, attempt: number): Promise<OpenedConnection> {
    const login = await loginOf(this.#access, node, this.#stop);
    const settings = settingsOf(this.#settings, login, attempt);
    const connection = await dial(
      login,
      settings,
      this.#onBlocked,
      this.#stop,
    );
    return { connection, login };
  }
}

/** Returns the error of an attempt if no other one is of use: for the first connection, or because of its rejections. */
export function finalError(
  error: Error,
  connected: boolean,
  rejections: LoginRejections,
): Error | undefined {
  const { fatal, refused } = error instanceof ConnectionFailedError
    ? error.data
    : { fatal: error instanceof InvalidValueError };
  if (fatal === true && !connected) return error;
  return refused === true ? rejections.record(error) : undefined;
}

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

/** True if the broker rejected a login or a secret, so that the network is not at fault. */
export const isLoginRejection = (error: unknown): boolean =>
  error instanceof AmqpError && error.scope === "connection" &&
  (error.code === "ACCESS_REFUSED" ||
    error.method === "connection.update-secret");

/** Ends of RabbitMQ's texts for a virtual host that exists, and cannot be opened now. The names in a text may be any words. */
const VHOST_UNAVAILABLE = /is down$|connection limit \(\d+\) is reached$/;

/** Returns why the connection was not opened. */
function causeOf(
  error: unknown,
): "login" | "vhost" | "permission" | undefined {
  if (isLoginRejection(error)) return "login";
  if (!(error instanceof AmqpError)) return undefined;
  const { code, method, replyText = "", cause } = error;
  if (cause instanceof Deno.errors.NotCapable) return "permission";
  const isFinal = code === "NOT_ALLOWED" && method === "connection.open" &&
    !VHOST_UNAVAILABLE.test(replyText);
  return isFinal ? "vhost" : undefined;
}

/** Advice by the cause. */
function hintFor(cause: ReturnType<typeof causeOf>, url: URL): string {
  switch (cause) {
    case "login":
      return "; check the user, the password and the virtual host";
    case "vhost":
      return "; the broker does not open the virtual host: check that it exists, and that the user may use it";
    case "permission":
      return `; the process needs the permission --allow-net=${url.host}`;
    default:
      return "";
  }
}

function connectError(
  url: URL,
  credentials: Credentials | undefined,
  error: unknown,
): ConnectionFailedError {
  const cause = causeOf(error);
  const reason = error instanceof Error ? error.message : String(error);
  const secret = credentials?.password ?? decodeURIComponent(url.password);
  const text = withoutSecret(reason, secret);
  return new ConnectionFailedError(
    `Cannot connect to ${displayUrl(url)}: ${text}${hintFor(cause, url)}`,
    {
      data: {
        url: displayUrl(url),
        fatal: cause !== undefined,
        refused: cause === "login",
      },
    },
  );
}

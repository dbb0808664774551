/** Renewal of credentials that expire: an open connection is given new ones by `connection.update-secret`. @module */
import type { Connection } from "../../../amqp/mod.ts";
import { setTimeout } from "node:timers/promises";
import { logger } from "../../../logging.ts";
import type { Credentials } from "../../credentials.ts";
import { isLoginRejection, withoutSecret } from "./dial.ts";

/**
 * Milliseconds before the expiry at which credentials are renewed, and the fraction of their remaining lifetime after
 * which they are renewed at the latest.
 */
const MARGIN_MS = 30_000, MAX_LIFETIME_FRACTION = 0.8;
/**
 * Remaining lifetime, in milliseconds, below which only the fraction counts, because the margin would come too soon
 * after the last renewal.
 */
const SHORT_LIFETIME_MS = 2 * MARGIN_MS;
/** Minimum delay of a renewal, in milliseconds. */
const MIN_DELAY_MS = 500;
/** Delay before the first retry, in milliseconds, which doubles up to the maximum. */
const MIN_RETRY_INTERVAL_MS = 1_000, MAX_RETRY_INTERVAL_MS = 30_000;
/** Maximum delay of a platform timer, in milliseconds. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Returns the milliseconds until credentials with that remaining lifetime are renewed. */
export function renewalDelay(remainingMs: number): number {
  const part = MAX_LIFETIME_FRACTION * remainingMs;
  const due = remainingMs < SHORT_LIFETIME_MS
    ? part
    : Math.min(remainingMs - MARGIN_MS, part);
  return Math.min(Math.max(due, MIN_DELAY_MS), MAX_TIMEOUT_MS);
}

/** Waits without keeping the process alive, which is up to the connection. */
const unrefDelay = (ms: number, signal: AbortSignal) =>
  setTimeout(ms, undefined, { signal, ref: false });

/** An open connection whose credentials can be renewed. */
export interface RenewableConnection {
  /** The connection. */
  readonly connection: Pick<Connection, "updateSecret" | "destroy">;
  /** Returns new credentials. */
  readonly getCredentials: (signal: AbortSignal) => Promise<Credentials>;
  /** Fires when the connection is closed. */
  readonly signal: AbortSignal;
}

/**
 * Renews the credentials of a connection while it is open and they expire; never rejects. Does nothing without credentials
 * of its own, or a function that returns others.
 */
export async function keepCredentialsValid(
  connection: Connection,
  first: Credentials | undefined,
  getCredentials: RenewableConnection["getCredentials"] | undefined,
): Promise<void> {
  if (!first || !getCredentials) return;
  const ended = new AbortController();
  void connection.closed.then(() => ended.abort());
  const renewable = { connection, getCredentials, signal: ended.signal };
  const { signal } = ended;
  try {
    let current: Credentials | undefined = first;
    while (current?.expires !== undefined) {
      await unrefDelay(renewalDelay(current.expires - Date.now()), signal);
      current = await renewBeforeExpiry(renewable, current, current.expires);
    }
  } catch (error) {
    if (signal.aborted) return;
    logger("bus").error("The renewal of credentials has ended: {error}", {
      error,
    });
  }
}

/**
 * Renews credentials, with retries until they expire; resolves to undefined if the connection ends, since the next
 * connection gets credentials of its own.
 */
async function renewBeforeExpiry(
  renewable: RenewableConnection,
  current: Credentials,
  expires: number,
): Promise<Credentials | undefined> {
  const { signal, getCredentials } = renewable;
  for (let attempt = 0; Date.now() < expires; attempt++) {
    const remainingMs = expires - Date.now();
    const end = AbortSignal.timeout(Math.min(remainingMs, MAX_TIMEOUT_MS));
    try {
      const next = await getCredentials(AbortSignal.any([signal, end]));
      return await update(renewable, current, next) ? next : undefined;
    } catch (error) {
      signal.throwIfAborted();
      logger("bus").warn(
        "Cannot renew the credentials, which expire in {seconds} s: {reason}",
        {
          seconds: Math.round(remainingMs / 1_000),
          reason: (error as Error).message,
        },
      );
    }
    const pause = Math.min(
      MIN_RETRY_INTERVAL_MS * 2 ** attempt,
      MAX_RETRY_INTERVAL_MS,
    );
    await unrefDelay(
      Math.max(0, Math.min(pause, expires - Date.now())),
      signal,
    );
  }
  // RabbitMQ leaves a connection with expired credentials open, and refuses every operation on it.
  renewable.connection.destroy(
    "its credentials expired before they could be renewed",
  );
  return undefined;
}

/**
 * Sends new credentials; resolves to true once the broker has accepted them. AMQP cannot change the user of a
 * connection, so that a new connection is opened for another user.
 */
async function update(
  { connection, signal }: RenewableConnection,
  current: Credentials,
  { username, password }: Credentials,
): Promise<boolean> {
  signal.throwIfAborted();
  if (username !== current.username) {
    connection.destroy("the new credentials belong to another user");
    return false;
  }
  try {
    await connection.updateSecret(password, "renewed");
  } catch (error) {
    if (isLoginRejection(error)) {
      logger("bus").warn(
        "The broker refused the renewed credentials: {reason}",
        {
          reason: withoutSecret((error as Error).message, password),
        },
      );
    }
    return false;
  }
  logger("bus").debug("The credentials were renewed");
  return true;
}

/** Credentials that expire: an open connection is told the new ones before, by `connection.update-secret`. @module */
import { Buffer } from "node:buffer";
import { setTimeout } from "node:timers/promises";
import { logger } from "../../../logging.ts";
import type { Credentials } from "../../transport.ts";
import { isRefusal, type Socket, withoutSecret } from "./dial.ts";

/** Milliseconds before their end at which credentials are renewed, and the part of what is left after which they are. */
const MARGIN = 30_000, PART = 0.8;
/** With less than this left (ms), the margin would come too soon after the last renewal. */
const BRIEF = 2 * MARGIN;
/** The shortest pause before a renewal, in milliseconds. */
const LEAST = 500;
/** The first pause between two tries, in milliseconds, which doubles up to the longest. */
const FIRST_PAUSE = 1_000, LONGEST_PAUSE = 30_000;
/** The longest that a platform timer can be set for. */
const LONGEST = 2 ** 31 - 1;

/** Milliseconds until credentials are renewed that have so many left. */
export function renewalIn(left: number): number {
  const part = PART * left;
  const due = left < BRIEF ? part : Math.min(left - MARGIN, part);
  return Math.min(Math.max(due, LEAST), LONGEST);
}

/** A timer that keeps no process alive: the connection does, where anybody uses it. */
const rest = (ms: number, signal: AbortSignal) =>
  setTimeout(ms, undefined, { signal, ref: false });

/** An open connection, with its user's credentials. */
export interface Renewing {
  /** The connection. */
  readonly socket: Pick<Socket, "model" | "lost" | "drop">;
  /** Asks for others. */
  readonly ask: (signal: AbortSignal) => Promise<Credentials>;
  /** Fires when the connection is gone. */
  readonly signal: AbortSignal;
}

/** Renews the credentials of a connection for as long as it is open and they expire; never rejects. */
export async function keepRenewed(
  renewing: Renewing,
  first: Credentials,
): Promise<void> {
  const { signal } = renewing;
  try {
    let held: Credentials | undefined = first;
    while (held?.expires !== undefined) {
      await rest(renewalIn(held.expires - Date.now()), signal);
      held = await renewed(renewing, held, held.expires);
    }
  } catch (error) {
    if (signal.aborted) return;
    logger("bus").error("Credentials are renewed no more: {error}", { error });
  }
}

/** Tries until they expire. Undefined: the connection ends, and the next one asks for its own. */
async function renewed(
  renewing: Renewing,
  held: Credentials,
  expires: number,
): Promise<Credentials | undefined> {
  const { signal, ask } = renewing;
  for (let attempt = 0; Date.now() < expires; attempt++) {
    const left = expires - Date.now();
    const end = AbortSignal.timeout(Math.min(left, LONGEST));
    try {
      const next = await ask(AbortSignal.any([signal, end]));
      return await update(renewing, held, next) ? next : undefined;
    } catch (error) {
      signal.throwIfAborted();
      logger("bus").warn(
        "Cannot renew the credentials, which expire in {seconds} s: {reason}",
        { seconds: Math.round(left / 1_000), reason: (error as Error).message },
      );
    }
    const pause = Math.min(FIRST_PAUSE * 2 ** attempt, LONGEST_PAUSE);
    await rest(Math.max(0, Math.min(pause, expires - Date.now())), signal);
  }
  // RabbitMQ leaves the connection open, and forbids whatever is done on it.
  renewing.socket.drop("its credentials expired before they could be renewed");
  return undefined;
}

/** True once the broker has taken them. A connection cannot change its user, so one of another user takes its place. */
async function update(
  { socket, signal }: Renewing,
  held: Credentials,
  { username, password }: Credentials,
): Promise<boolean> {
  signal.throwIfAborted();
  if (username !== held.username) {
    socket.drop("the credentials are another user's now");
    return false;
  }
  const told = socket.model.updateSecret(Buffer.from(password), "renewed");
  const lost = await Promise.race([told.then(() => undefined), socket.lost]);
  if (lost && isRefusal(lost.message)) {
    logger("bus").warn("The broker refused the renewed credentials: {reason}", {
      reason: withoutSecret(lost.message, password),
    });
  } else if (!lost) logger("bus").debug("The credentials are renewed");
  return lost === undefined;
}

/** Functions of the user's that tell where to connect, and as whom: how long they may take, and what is checked of them. @module */
import { ConnectionFailedError, InvalidValueError } from "../errors.ts";
import { redactText } from "../redaction.ts";
import { oneLine } from "../logging.ts";
import { withDeadline } from "../async/deadline.ts";
import type { Credentials } from "../transport/transport.ts";
import {
  type AskedCredentials,
  type AskedUrls,
  parseUrls,
} from "./connection_options.ts";

/** Milliseconds that such a function has. */
const TIMEOUT_MS = 10_000;

/**
 * The value that a function of the user's gives. Its signal fires when nobody waits for it any more.
 *
 * @throws {ConnectionFailedError} it throws, or gives nothing in time.
 */
export async function resolveOption<T>(
  option: string,
  give: (signal: AbortSignal) => T | Promise<T>,
  stop: AbortSignal,
  patience: number = TIMEOUT_MS,
): Promise<T> {
  const over = new AbortController();
  const failed = (why: string) =>
    new ConnectionFailedError(
      `The function of the option ${option} ${why}`,
      { data: { path: option } },
    );
  const late = failed(`gave nothing within ${patience} ms`);
  const wait = { at: performance.now() + patience, signal: stop };
  const asked = (async () => await give(over.signal))();
  try {
    return await withDeadline(asked, wait, () => late);
  } catch (error) {
    over.abort(error);
    if (error === late || stop.aborted) throw error;
    const reason = error instanceof Error ? error.message : error;
    throw failed(`failed: ${redactText(oneLine(reason))}`); // without its cause, which may hold a secret
  }
}

/** Moments below, in milliseconds since 1970, are before March 1973: whoever gives one means seconds. */
const SECONDS = 100_000_000_000;

function wrong(option: string, what: string): InvalidValueError {
  return new InvalidValueError(
    `The function of the option ${option} gave ${what}`,
    { data: { path: option } },
  );
}

/** The nodes as a function tells them; `look` sees them first. */
export function askedUrls(
  urls: AskedUrls,
  look: (urls: readonly URL[]) => void,
): (signal: AbortSignal) => Promise<readonly URL[]> {
  return async (signal) => {
    const parsed = parseUrls(await resolveOption("url", urls, signal));
    if (parsed[0]?.protocol === "memory:") {
      throw wrong("url", "the URL of a bus in memory; give that as a text");
    }
    look(parsed);
    return parsed;
  };
}

/** The credentials as a function tells them. */
export function askedCredentials(
  credentials: AskedCredentials,
): (signal: AbortSignal) => Promise<Credentials> {
  return async (signal) =>
    checked(await resolveOption("credentials", credentials, signal));
}

/** A text that SASL's PLAIN can carry. */
const isText = (value: unknown): value is string =>
  typeof value === "string" && !value.includes("\0");

/** A copy, so that what its owner changes later changes nothing here. The values are never shown. */
function checked(given: Credentials): Credentials {
  const { username, password, expires } = given ?? {};
  if (!isText(username) || !isText(password)) {
    const what = "no username or no password; give both as texts without NUL";
    throw wrong("credentials", what);
  }
  if (expires === undefined) return { username, password };
  if (!Number.isFinite(expires)) {
    const shown = typeof expires === "number" ? expires : typeof expires;
    const what = `expires as ${shown}; give milliseconds since 1970`;
    throw wrong("credentials", what);
  }
  if (expires > Date.now()) return { username, password, expires };
  if (expires < SECONDS) {
    const what =
      `expires as ${expires}, which looks like seconds; give milliseconds since 1970`;
    throw wrong("credentials", what);
  }
  throw new ConnectionFailedError(
    `The credentials have expired at ${expires}, in milliseconds since 1970`,
    { data: { path: "credentials" } },
  );
}

/**
 * Refuses credentials that are no function.
 *
 * @throws {InvalidValueError} without showing them.
 */
export function checkCredentials(credentials: unknown): void {
  if (credentials === undefined || typeof credentials === "function") return;
  throw new InvalidValueError(
    "Invalid option credentials: give a function that returns { username, password, expires }",
    { data: { path: "credentials" } },
  );
}

/**
 * Functions in options that return the URLs or the credentials of a connection: their time limit, and the checks of
 * their results.
 *
 * @module
 */
import { ConnectionFailedError, InvalidValueError } from "../errors.ts";
import { redactText } from "../redaction.ts";
import { oneLine } from "../logging.ts";
import { withDeadline } from "../async/deadline.ts";
import type { Credentials } from "../transport/credentials.ts";
import {
  type AskedCredentials,
  type AskedUrls,
  parseUrls,
} from "./connection_options.ts";

/** Time limit of such a function, in milliseconds. */
const TIMEOUT_MS = 10_000;

/**
 * Returns the result of a function that was passed as an option. The signal that it receives fires when its result is
 * not needed any more.
 *
 * @throws {ConnectionFailedError} the function throws, or does not return in time.
 */
export async function resolveOption<T>(
  option: string,
  getValue: (signal: AbortSignal) => T | Promise<T>,
  stop: AbortSignal,
  timeoutMs: number = TIMEOUT_MS,
): Promise<T> {
  const controller = new AbortController();
  const failed = (why: string) =>
    new ConnectionFailedError(
      `The function of the option ${option} ${why}`,
      { data: { path: option } },
    );
  const timeoutError = failed(`gave nothing within ${timeoutMs} ms`);
  const deadline = { at: performance.now() + timeoutMs, signal: stop };
  const result = (async () => await getValue(controller.signal))();
  try {
    return await withDeadline(result, deadline, () => timeoutError);
  } catch (error) {
    controller.abort(error);
    if (error === timeoutError || stop.aborted) throw error;
    const reason = error instanceof Error ? error.message : error;
    throw failed(`failed: ${redactText(oneLine(reason))}`); // without the cause, which may contain a secret
  }
}

/** Smallest plausible time in milliseconds since 1970 (March 1973). A smaller value is probably in seconds. */
const MIN_EPOCH_MS = 100_000_000_000;

function invalidResult(option: string, what: string): InvalidValueError {
  return new InvalidValueError(
    `The function of the option ${option} gave ${what}`,
    { data: { path: option } },
  );
}

/** Wraps a function that returns URLs: its result is parsed and checked, and passed to `onUrls`. */
export function urlsFrom(
  urls: AskedUrls,
  onUrls: (urls: readonly URL[]) => void,
): (signal: AbortSignal) => Promise<readonly URL[]> {
  return async (signal) => {
    const parsed = parseUrls(await resolveOption("url", urls, signal));
    if (parsed[0]?.protocol === "memory:") {
      throw invalidResult(
        "url",
        "the URL of a bus in memory; give that as a text",
      );
    }
    onUrls(parsed);
    return parsed;
  };
}

/** Wraps a function that returns credentials: its result is checked. */
export function credentialsFrom(
  credentials: AskedCredentials,
): (signal: AbortSignal) => Promise<Credentials> {
  return async (signal) =>
    checkCopy(await resolveOption("credentials", credentials, signal));
}

/** True for a text that SASL's PLAIN mechanism can represent. */
const isText = (value: unknown): value is string =>
  typeof value === "string" && !value.includes("\0");

/** Checks and copies credentials, so that later changes by their owner have no effect. Errors never contain the values. */
function checkCopy(credentials: Credentials): Credentials {
  const { username, password, expires } = credentials ?? {};
  if (!isText(username) || !isText(password)) {
    const what = "no username or no password; give both as texts without NUL";
    throw invalidResult("credentials", what);
  }
  if (expires === undefined) return { username, password };
  if (!Number.isFinite(expires)) {
    const shown = typeof expires === "number" ? expires : typeof expires;
    const what = `expires as ${shown}; give milliseconds since 1970`;
    throw invalidResult("credentials", what);
  }
  if (expires > Date.now()) return { username, password, expires };
  if (expires < MIN_EPOCH_MS) {
    const what =
      `expires as ${expires}, which looks like seconds; give milliseconds since 1970`;
    throw invalidResult("credentials", what);
  }
  throw new ConnectionFailedError(
    `The credentials have expired at ${expires}, in milliseconds since 1970`,
    { data: { path: "credentials" } },
  );
}

/**
 * Rejects credentials that are not a function.
 *
 * @throws {InvalidValueError} the option is not a function; the message does not contain the value.
 */
export function checkCredentials(credentials: unknown): void {
  if (credentials === undefined || typeof credentials === "function") return;
  throw new InvalidValueError(
    "Invalid option credentials: give a function that returns { username, password, expires }",
    { data: { path: "credentials" } },
  );
}

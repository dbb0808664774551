/** Formats values of the configuration for messages: secrets are redacted, and each value stays on one line. @module */
import { oneLine } from "../logging.ts";

/** Replaces a text that may contain a password. */
const HIDDEN_URL = "(hidden: it may hold a password)";

const MAX_DISPLAY_CHARS = 100;

/** Returns a URL without its password; undefined if the position of the password in it is uncertain. */
function redactUrl(text: string): string | undefined {
  const url = URL.parse(text);
  if (url?.protocol === "memory:") return text.includes("@") ? undefined : text;
  if (!url || !/^(amqp|http)s?:$/.test(url.protocol) || url.host === "") {
    return undefined;
  }
  const { protocol, username, password, host, pathname, search, hash } = url;
  // An unescaped / ? or # in a password ends the authority too early, so that the rest of the password looks like a path.
  if (`${pathname}${search}${hash}`.includes("@")) return undefined;
  const user = password === "" ? username : `${username}:***`;
  return `${protocol}//${user}${user && "@"}${host}${pathname}`;
}

/** Joins URLs without their passwords. */
export function redactUrls(urls: readonly string[]): string {
  const masked = urls.map(redactUrl);
  // A password that contains a comma was split in two, so no part may be displayed.
  return masked.includes(undefined) ? HIDDEN_URL : masked.join(",");
}

/** Formats the name of an option or a variable. A name with an `@` may be a URL in the wrong place and is hidden. */
export function displayName(name: string): string {
  return name.includes("@") ? HIDDEN_URL : oneLine(name, MAX_DISPLAY_CHARS);
}

/** Formats an invalid value for an error message. */
export function displayValue(value: unknown): string {
  if (typeof value === "string") {
    // The text may be a URL that was given for another option.
    return value.includes("@")
      ? HIDDEN_URL
      : `"${oneLine(value, MAX_DISPLAY_CHARS)}"`;
  }
  if (Array.isArray(value)) return "[…]";
  if (typeof value === "object" && value !== null) return "{…}";
  return typeof value === "function" ? "a function" : String(value);
}

/** Formats invalid URLs, a text or a list, for an error message. */
export function displayUrls(value: unknown): string {
  const urls = Array.isArray(value) ? value : [value];
  if (urls.length === 0) return "[]";
  const texts = urls.flatMap((url: unknown) =>
    typeof url === "string" ? url.split(",").map((part) => part.trim()) : []
  );
  if (texts.length < urls.length) return displayValue(value);
  const masked = redactUrls(texts);
  return masked === HIDDEN_URL
    ? HIDDEN_URL
    : `"${oneLine(masked, MAX_DISPLAY_CHARS)}"`;
}

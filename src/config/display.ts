/** Values of the configuration as text that may be seen: secrets are masked, lines stay lines. @module */
import { oneLine } from "../logging.ts";

/** Stands where a secret was. */
const HIDDEN_URL = "(hidden: it may hold a password)";

const MAX_DISPLAY_CHARS = 100;

/** One URL without its password; undefined where it cannot be told what of it is the password. */
function redactUrl(text: string): string | undefined {
  const url = URL.parse(text);
  if (url?.protocol === "memory:") return text.includes("@") ? undefined : text;
  if (!url || !/^(amqp|http)s?:$/.test(url.protocol) || url.host === "") {
    return undefined;
  }
  const { protocol, username, password, host, pathname, search, hash } = url;
  // An unescaped / ? or # in a password ends the authority too soon, and the rest of it looks like a path.
  if (`${pathname}${search}${hash}`.includes("@")) return undefined;
  const user = password === "" ? username : `${username}:***`;
  return `${protocol}//${user}${user && "@"}${host}${pathname}`;
}

/** URLs without their passwords. */
export function redactUrls(urls: readonly string[]): string {
  const masked = urls.map(redactUrl);
  // A password with a comma in it was cut in two: then no part may be seen.
  return masked.includes(undefined) ? HIDDEN_URL : masked.join(",");
}

/** A name that somebody gave: in quotes, unless it looks like a URL that went astray. */
export function displayName(name: string): string {
  return name.includes("@") ? HIDDEN_URL : oneLine(name, MAX_DISPLAY_CHARS);
}

/** A value as somebody gave it. */
export function displayValue(value: unknown): string {
  if (typeof value === "string") {
    // A URL in the wrong place is still a URL.
    return value.includes("@")
      ? HIDDEN_URL
      : `"${oneLine(value, MAX_DISPLAY_CHARS)}"`;
  }
  if (Array.isArray(value)) return "[…]";
  if (typeof value === "object" && value !== null) return "{…}";
  return typeof value === "function" ? "a function" : String(value);
}

/** The URLs as somebody gave them: a text, or a list. */
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

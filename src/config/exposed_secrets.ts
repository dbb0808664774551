/** Secrets in files that others than their owner may read. @module */
import { logger } from "../logging.ts";
import type { ConfigLayer } from "./layer.ts";
import { displayName } from "./display.ts";

/** Files that were warned of: reading them again does not warn again. */
const warnedFiles = new Set<string>();

/** Warns once of a file with a secret that others may read. */
export function warnOfExposedSecret(path: string, secret: string): void {
  if (warnedFiles.has(path)) return;
  warnedFiles.add(path);
  logger("service").warn(
    "{file} holds {what}, and others than its owner have access to it: run chmod 600 on it",
    { file: displayName(path), what: secret },
    path,
  );
}

/** True if a private key in PEM is in it. */
export function isPrivateKey(text: unknown): boolean {
  return /-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(String(text));
}

/** The secret of a level, in words. */
export function describeSecret(layer: ConfigLayer): string | undefined {
  const urls = layer.get("url")?.value;
  const hasPassword = (url: unknown) => URL.parse(String(url))?.password;
  if (Array.isArray(urls) && urls.some(hasPassword)) return "a password";
  return [...layer.values()].some(({ value }) => isPrivateKey(value))
    ? "a private key"
    : undefined;
}

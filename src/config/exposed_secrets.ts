/** Warns of secrets in files that other users than the owner can read. @module */
import { logger } from "../logging.ts";
import type { ConfigLayer } from "./layer.ts";
import { displayName } from "./display.ts";

/** Paths that have been warned of already; reloading the configuration does not warn again. */
const warnedFiles = new Set<string>();

/** Warns once of a file with a secret that other users can read. `kind` describes the secret, such as "a password". */
export function warnOfExposedSecret(path: string, kind: string): void {
  if (warnedFiles.has(path)) return;
  warnedFiles.add(path);
  logger("service").warn(
    "{file} contains {kind} and can be read by other users than its owner: run chmod 600 on it",
    { file: displayName(path), kind },
    path,
  );
}

/** True if the text contains a private key in PEM. */
export function isPrivateKey(text: unknown): boolean {
  return /-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(String(text));
}

/** Names the kind of secret that a layer contains; undefined if it contains none. */
export function describeSecret(layer: ConfigLayer): string | undefined {
  const cells = Object.values(Object(layer.get("cells")?.value));
  const urls = [layer.get("url")?.value, ...cells].flat();
  const hasPassword = (url: unknown) => URL.parse(String(url))?.password;
  if (urls.some(hasPassword)) return "a password";
  return [...layer.values()].some(({ value }) => isPrivateKey(value))
    ? "a private key"
    : undefined;
}

/** Reads the JSON file and the PEM files of the configuration, without ever prompting for a permission. @module */
import {
  type ConfigLayer,
  invalidValue,
  isRecord,
  layerOf,
  type Source,
} from "./layer.ts";
import { displayValue } from "./display.ts";
import {
  describeSecret,
  isPrivateKey,
  warnOfExposedSecret,
} from "./exposed_secrets.ts";

/**
 * Explains why a file cannot be read. The system's message is not used: it contains the path, and the path may be a secret
 * that was given by mistake.
 */
function readFailure(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  if (error instanceof Deno.errors.NotCapable) {
    return "this program may not read it without --allow-read";
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return "the system does not let this user read it";
  }
  return `reading it failed (${error instanceof Error ? error.name : "?"})`;
}

/** Text of a file. */
interface FileText {
  readonly text: string;
  /** True if other users than the owner of the file have access to it. */
  readonly exposed: boolean;
}

/** Bits of a file mode for the group and for other users. */
const GROUP_AND_OTHERS_MODE = 0o077;

/** Reads a file; returns the reason if it cannot be read. */
function readText(path: string): FileText | { why: string } {
  try {
    // The permission is queried first, because reading without it would prompt the user.
    const { state } = Deno.permissions.querySync({ name: "read", path });
    if (state !== "granted") throw new Deno.errors.NotCapable();
    const text = Deno.readTextFileSync(path);
    const { isFile, mode } = Deno.statSync(path);
    // Windows has no file mode.
    return {
      text,
      exposed: isFile && ((mode ?? 0) & GROUP_AND_OTHERS_MODE) !== 0,
    };
  } catch (error) {
    return { why: readFailure(error) };
  }
}

/**
 * Describes a JSON error by its position. The parser's own message is not used: it quotes the text, which may contain a
 * secret.
 */
function jsonErrorPosition(error: unknown): string {
  const [, at] = /\((line \d+ column \d+)\)$/.exec(String(error)) ?? [];
  return at ? `it is not JSON from ${at}` : "it is not JSON";
}

/**
 * Reads the layer of a JSON file. A secret in a file that other users can read is a warning in the log.
 *
 * @throws {InvalidValueError} the file cannot be read, is no JSON object, or contains an invalid value or an unknown key.
 */
export function fileLayer(path: string, source: Source): ConfigLayer {
  const read = readText(path);
  const fileError = (why: string) =>
    invalidValue(
      source,
      displayValue(path),
      `the path of a file with a JSON object; ${why}`,
    );
  if ("why" in read) throw fileError(read.why);
  let json: unknown;
  try {
    json = JSON.parse(read.text);
  } catch (error) {
    throw fileError(jsonErrorPosition(error));
  }
  if (!isRecord(json)) throw fileError("its content is not an object");
  const layer = layerOf(json, (name) => ({ kind: "key", name, file: path }));
  const secret = describeSecret(layer);
  if (secret !== undefined && read.exposed) warnOfExposedSecret(path, secret);
  return layer;
}

/**
 * Returns PEM as it is, or reads it from the file of that path. A private key in a file that other users can read is a
 * warning in the log.
 *
 * @throws {InvalidValueError} the file cannot be read, or contains no PEM.
 */
export function readPem(pemOrPath: string, source: Source): string {
  const isPem = (text: string) => text.trimStart().startsWith("-----BEGIN ");
  if (isPem(pemOrPath)) return pemOrPath;
  const read = readText(pemOrPath);
  if ("text" in read && isPem(read.text)) {
    if (read.exposed && isPrivateKey(read.text)) {
      warnOfExposedSecret(pemOrPath, "a private key");
    }
    return read.text;
  }
  // The path is not displayed: it may be a private key without its first line.
  const why = "why" in read ? read.why : "there is no PEM in it";
  throw invalidValue(
    source,
    "(hidden)",
    `PEM, or the path of a file with it; ${why}`,
  );
}

/** The files of the configuration, read without ever asking the user for a permission. @module */
import {
  type ConfigLayer,
  invalidValue,
  isPlain,
  layerOf,
  type Source,
} from "./layer.ts";
import { displayValue } from "./display.ts";
import {
  describeSecret,
  isPrivateKey,
  warnOfExposedSecret,
} from "./exposed_secrets.ts";

/** Why a file cannot be read. The system's own words would name it, and it may be a secret that was put in its place. */
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

/** A file that was read. */
interface FileText {
  readonly text: string;
  /** True if others than its owner have access to it. */
  readonly exposed: boolean;
}

/** Permissions of all but the owner. */
const GROUP_AND_OTHERS_MODE = 0o077;

/** Gives the text of a file, or the reason why it cannot. */
function readText(path: string): FileText | { why: string } {
  try {
    // Asked first, since reading what is neither granted nor denied would prompt.
    const { state } = Deno.permissions.querySync({ name: "read", path });
    if (state !== "granted") throw new Deno.errors.NotCapable();
    const text = Deno.readTextFileSync(path);
    const { isFile, mode } = Deno.statSync(path);
    // Windows has no mode.
    return {
      text,
      exposed: isFile && ((mode ?? 0) & GROUP_AND_OTHERS_MODE) !== 0,
    };
  } catch (error) {
    return { why: readFailure(error) };
  }
}

/** What is wrong with JSON, without the piece of it that the parser's own words hold. */
function jsonErrorPosition(error: unknown): string {
  const [, at] = /\((line \d+ column \d+)\)$/.exec(String(error)) ?? [];
  return at ? `it is no JSON from ${at}` : "it is no JSON";
}

/**
 * The level of the file. A secret in a file that others may read is a warning.
 *
 * @throws {InvalidValueError} it cannot be read, is no JSON object, or something in it is wrong.
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
  if (!isPlain(json)) throw fileError("what it holds is none");
  const layer = layerOf(json, (name) => ({ kind: "key", name, file: path }));
  const secret = describeSecret(layer);
  if (secret !== undefined && read.exposed) warnOfExposedSecret(path, secret);
  return layer;
}

/**
 * PEM as it is, or from the file that is named in its place. A private key that others may read is a warning.
 *
 * @throws {InvalidValueError} there is no PEM.
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
  // The path is not shown: it may be a key that lost its first line.
  const why = "why" in read ? read.why : "there is no PEM in it";
  throw invalidValue(
    source,
    "(hidden)",
    `PEM, or the path of a file with it; ${why}`,
  );
}

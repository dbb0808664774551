/**
 * Bodies that only peers in Python send: compressed by kombu (`kombu_compression`), or with numbers that are not JSON.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import process from "node:process";
import bunzip from "npm:seek-bzip@2.0.0";
import type { JsonObject } from "./rpc_message.ts";

/** Header that names the compression. */
const COMPRESSION_HEADER = "compression";

/** Decompressors by kombu's names. Each returns undefined if the result exceeds the limit. */
const readers: Readonly<
  Record<string, (body: Uint8Array, limit: number) => Uint8Array | undefined>
> = {
  "application/x-gzip": unzip,
  "application/x-bz2": unbzip2,
};

/** Decompresses gzip, or zlib's own format, which is what kombu writes under the name of gzip. */
function unzip(body: Uint8Array, limit: number): Uint8Array | undefined {
  const { unzipSync } = process.getBuiltinModule("node:zlib"); // loaded when it is first needed
  try {
    return unzipSync(body, { maxOutputLength: limit });
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === "ERR_BUFFER_TOO_LARGE") return undefined;
    throw error;
  }
}

/** The package has no types. Its `decode` accepts an object that receives one byte after the other. */
const { decode } = bunzip as {
  decode(body: Uint8Array, out: { writeByte(byte: number): void }): void;
};

class OutputLimitReached extends Error {}

/** Size of an empty stream. The package takes the first 4 bytes of a shorter one for a whole stream. */
const MIN_STREAM_BYTES = 14;

/**
 * Decompresses bzip2, which the platform does not support. A block has 900 000 bytes at most, whatever its size when
 * decompressed.
 */
export function unbzip2(
  body: Uint8Array,
  limit: number,
): Uint8Array | undefined {
  if (body.length < MIN_STREAM_BYTES) throw new Error("cut off");
  const bytes: number[] = [];
  const writeByte = (byte: number) => {
    if (bytes.length === limit) throw new OutputLimitReached();
    bytes.push(byte);
  };
  try {
    decode(Buffer.from(body), { writeByte });
    return Uint8Array.from(bytes);
  } catch (error) {
    if (error instanceof OutputLimitReached) return undefined;
    throw error;
  }
}

/**
 * Returns the body as it was before compression, or the reason why it cannot be read. At most `limit` bytes are
 * decompressed.
 */
export function decompress(
  body: Uint8Array,
  headers: JsonObject,
  limit: number,
): { readonly body: Uint8Array } | { readonly rejected: string } {
  const name = headers[COMPRESSION_HEADER];
  if (typeof name !== "string" || name === "") return { body };
  const read = Object.hasOwn(readers, name) ? readers[name] : undefined;
  if (!read) {
    const known = Object.keys(readers).join(" or ");
    return { rejected: `an unknown compression, not ${known}` };
  }
  try {
    const plain = read(body, limit);
    return plain
      ? { body: plain }
      : { rejected: `more than ${limit} bytes when decompressed` };
  } catch {
    return { rejected: "not compressed as its header says" };
  }
}

/** Python's numbers that are not JSON, by their first character. */
const PYTHON_NUMBERS: Readonly<Record<string, string>> = {
  N: "NaN",
  I: "Infinity",
  "-": "-Infinity",
};

/** Replaces Python's numbers outside of strings by `null`, in one pass. The text need not be JSON. */
export function withoutNaN(text: string): string {
  const marks = /["NI-]/g;
  let converted = "", from = 0;
  for (let mark = marks.exec(text); mark; mark = marks.exec(text)) {
    const at = mark.index;
    if (mark[0] === '"') marks.lastIndex = endOfString(text, at + 1);
    const pythonNumber = PYTHON_NUMBERS[mark[0]];
    if (pythonNumber === undefined || !text.startsWith(pythonNumber, at)) {
      continue;
    }
    converted += `${text.slice(from, at)}null`;
    marks.lastIndex = from = at + pythonNumber.length;
  }
  return converted + text.slice(from);
}

/** Returns the index after the closing quote of a string; the length if there is none. */
function endOfString(text: string, start: number): number {
  const ends = /["\\]/g;
  ends.lastIndex = start;
  for (let end = ends.exec(text); end; end = ends.exec(text)) {
    if (end[0] === '"') return end.index + 1;
    ends.lastIndex = end.index + 2; // the character after a backslash is no closing quote
  }
  return text.length;
}

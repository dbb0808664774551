/** Bodies that kombu compressed, and said so in a header (`kombu_compression`). @module */
import { Buffer } from "node:buffer";
import { unzipSync } from "node:zlib";
import bunzip from "npm:seek-bzip@2.0.0";
import type { JsonObject } from "./rpc_message.ts";
import type { Limits } from "./json.ts";

/** The header that names the compression. */
const COMPRESSION = "compression";

/** The readers, by kombu's names. Each gives undefined for more bytes than the limit. */
const readers: Readonly<
  Record<string, (body: Uint8Array, limit: number) => Uint8Array | undefined>
> = {
  "application/x-gzip": unzip,
  "application/x-bz2": unbzip2,
};

/** Gzip, or zlib's own form, which is what kombu writes by that name. */
function unzip(body: Uint8Array, limit: number): Uint8Array | undefined {
  try {
    return unzipSync(body, { maxOutputLength: limit });
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === "ERR_BUFFER_TOO_LARGE") return undefined;
    throw error;
  }
}

/** The package has no types. It takes an object that is given byte after byte. */
const { decode } = bunzip as {
  decode(body: Uint8Array, out: { writeByte(byte: number): void }): void;
};

class Full extends Error {}

/** Bytes of the shortest stream, of nothing: the package takes its first 4 for all of it. */
const SHORTEST = 14;

/** Bzip2, which the platform does not read. A block is 900 000 bytes at most, whatever it becomes. */
export function unbzip2(
  body: Uint8Array,
  limit: number,
): Uint8Array | undefined {
  if (body.length < SHORTEST) throw new Error("cut off");
  const bytes: number[] = [];
  const writeByte = (byte: number) => {
    if (bytes.length === limit) throw new Full();
    bytes.push(byte);
  };
  try {
    decode(Buffer.from(body), { writeByte });
    return Uint8Array.from(bytes);
  } catch (error) {
    if (error instanceof Full) return undefined;
    throw error;
  }
}

/** The body as it was before it was compressed, or why it cannot be read. No more than the limit is ever decompressed. */
export function decompressed(
  body: Uint8Array,
  headers: JsonObject,
  { bytes: limit }: Limits,
): { readonly body: Uint8Array } | { readonly refused: string } {
  const name = headers[COMPRESSION];
  if (typeof name !== "string" || name === "") return { body };
  const read = Object.hasOwn(readers, name) ? readers[name] : undefined;
  if (!read) {
    const known = Object.keys(readers).join(" or ");
    return { refused: `compressed in another way than ${known}` };
  }
  try {
    const whole = read(body, limit);
    return whole
      ? { body: whole }
      : { refused: `more than ${limit} bytes when decompressed` };
  } catch {
    return { refused: "not compressed as it says" };
  }
}

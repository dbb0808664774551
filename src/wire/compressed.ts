/** Bodies that kombu compressed, and said so in a header (`kombu_compression`). @module */
import { unzipSync } from "node:zlib";
import { unbzip2 } from "./bzip2.ts";
import type { Fields } from "./envelope.ts";
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

/** The body as it was before it was compressed, or why it cannot be read. No more than the limit is ever decompressed. */
export function decompressed(
  body: Uint8Array,
  headers: Fields,
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

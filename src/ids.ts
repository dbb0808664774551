/** Ids of messages, and queue names that are unique in the process. @module */
import { Buffer } from "node:buffer";

/** Number of ids that are generated together: one large request for random bytes is cheaper than many small ones. */
const IDS_PER_BATCH = 256;
let idBatch: Buffer = Buffer.alloc(0);
let offset = 0;

/** Returns a new id of 32 lower-case hexadecimal characters: 128 random bits. */
export function newId(): string {
  if (offset === idBatch.length) {
    const bytes = crypto.getRandomValues(new Uint8Array(IDS_PER_BATCH * 16));
    idBatch = Buffer.from(Buffer.from(bytes).toString("hex"), "latin1");
    offset = 0;
  }
  return idBatch.toString("latin1", offset, offset += 32);
}

const useCounts = new Map<string, number>();

/**
 * Returns a queue name that is unique in this process. The suffix is random if `discriminator` is true; otherwise it is
 * the given text and a number that counts its uses.
 */
export function uniqueName(name: string, discriminator: true | string): string {
  if (discriminator === true) {
    return `${name}_${crypto.randomUUID().replaceAll("-", "")}`;
  }
  const useCount = (useCounts.get(discriminator) ?? 0) + 1;
  useCounts.set(discriminator, useCount);
  return `${name}_${discriminator}:${useCount}`;
}

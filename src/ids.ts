/** Ids on the wire, and names of queues that no other queue has. @module */
import { Buffer } from "node:buffer";

/** Random bytes come cheaper together: so many ids are made at a time, and read one by one. */
const IDS = 256;
let ids: Buffer = Buffer.alloc(0);
let next = 0;

/** 32 lower-case hexadecimal characters, as every id on the wire: 128 random bits. */
export function newId(): string {
  if (next === ids.length) {
    const bytes = crypto.getRandomValues(new Uint8Array(IDS * 16));
    ids = Buffer.from(Buffer.from(bytes).toString("hex"), "latin1");
    next = 0;
  }
  return ids.toString("latin1", next, next += 32);
}

const uses = new Map<string, number>();

/** A name that no other queue of this process has, with random characters or the number of its use; see `Queue.fresh`. */
export function uniqueName(name: string, fresh: true | string): string {
  if (fresh === true) {
    return `${name}_${crypto.randomUUID().replaceAll("-", "")}`;
  }
  const number = (uses.get(fresh) ?? 0) + 1;
  uses.set(fresh, number);
  return `${name}_${fresh}:${number}`;
}

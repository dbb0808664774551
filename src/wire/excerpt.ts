/** Looks for the reply address in the beginning and the end of a body that is too large to be read. @module */
import { Buffer } from "node:buffer";
import { type Dialect, grizzly, oslo } from "./dialect.ts";
import type { ReplyAddress } from "./envelope.ts";

/** Bytes of each end that are looked at. */
const END = 64 * 1024;

/** The parts that were found. */
export interface Excerpt {
  /** Id of a call. */
  readonly call: string | undefined;
  /** Address of its answer. */
  readonly reply: ReplyAddress | undefined;
  /** In which dialect. */
  readonly dialect: Dialect;
}

/** The last text under a key, in JSON or in JSON within JSON. */
function last(text: string, key: string): string | undefined {
  const pattern = new RegExp(
    `\\\\?"${key}\\\\?" ?: ?\\\\?"([\\w.:-]{1,255})\\\\?"`,
    "g",
  );
  let found: string | undefined;
  for (const [, value] of text.matchAll(pattern)) found = value;
  return found;
}

/** Looks for the keys of Nova's messages. Arguments may have the same ones: it is a guess, for those who get nothing else. */
export function excerptOf(body: Uint8Array): Excerpt {
  const ends = body.length <= 2 * END
    ? [body]
    : [body.subarray(0, END), body.subarray(-END)];
  const text = Buffer.concat(ends).toString("latin1");
  const call = last(text, "_msg_id");
  const queue = last(text, "_reply_q");
  const dialect = text.includes('"oslo.version"') ? oslo : grizzly;
  if (call === undefined) return { call, reply: undefined, dialect };
  const form = queue === undefined
    ? "bare"
    : text.includes("_timeout")
    ? "single"
    : "parts";
  return { call, reply: { call, queue: queue ?? call, form }, dialect };
}

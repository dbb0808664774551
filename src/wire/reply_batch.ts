/**
 * Batches: several replies to one caller in one message, a format of Warren's own. The first line is a JSON array with
 * the properties of each reply, as `[bytes of its body, correlation id, headers]`. The bodies follow, one after the
 * other.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { z } from "npm:zod@^4.6.7";
import type { JsonObject } from "./rpc_message.ts";
import { batchHeaders, header } from "./headers.ts";
import { defaultLimits, parseJson } from "./json.ts";

/** Reply in a batch, or a batch as a whole. */
export interface BatchEntry {
  /** Body. */
  readonly body: Uint8Array;
  /** Warren's own headers. */
  readonly headers: JsonObject;
  /** Id of the call that the reply belongs to. */
  readonly correlationId?: string | undefined;
}

/** Largest batch, in bytes and in replies. */
const MAX_BATCH_BYTES = 64 * 1024;
const MAX_BATCH_REPLIES = 256;
/** Largest body that is put into a batch: copying a larger one would take longer than it saves. */
const MAX_BATCHED_BODY_BYTES = 8 * 1024;

/** Collects replies for one batch. */
export class ReplyBatch<T extends BatchEntry> {
  /** Replies in order. */
  readonly replies: T[] = [];
  readonly #heads: string[] = [];
  #bytes = "[]\n".length;

  /**
   * Adds a reply; returns false if it does not fit into the batch. A large reply fits only into an empty batch, and
   * nothing fits after it.
   */
  add(reply: T, maxBytes: number): boolean {
    const { body, correlationId, headers } = reply;
    const line = JSON.stringify([body.length, correlationId ?? "", headers]);
    const bytes = this.#bytes + Buffer.byteLength(line) + 1 + body.length;
    const fits = bytes <= Math.min(maxBytes, MAX_BATCH_BYTES) &&
      this.replies.length < MAX_BATCH_REPLIES &&
      body.length <= MAX_BATCHED_BODY_BYTES;
    if (!fits && this.replies.length > 0) return false;
    this.replies.push(reply);
    this.#heads.push(line);
    this.#bytes = fits ? bytes : Infinity;
    return true;
  }

  /** Encodes the batch. */
  get encoded(): BatchEntry {
    const line = Buffer.from(`[${this.#heads.join()}]\n`);
    const body = Buffer.concat([line, ...this.replies.map(({ body }) => body)]);
    return { body, headers: batchHeaders(this.replies.length) };
  }
}

const LINE_FEED = 0x0a;

/** The method of `Buffer` is slower. */
const { indexOf } = Uint8Array.prototype;

const entrySchema = z.tuple([z.int().positive(), z.string(), z.looseObject({})])
  .refine(([, , headers]) => !(header.control in headers), "no control");
const headSchema = z.array(entrySchema).min(1).max(MAX_BATCH_REPLIES);

/** Returns true if a message is a batch. */
export const isBatch = (headers: JsonObject): boolean =>
  header.batch in headers;

/**
 * Decodes a batch to its replies, each to be decoded by itself; undefined if the message is not a valid batch. Never
 * throws.
 */
export function decodeBatch(
  { body, headers }: BatchEntry,
): readonly BatchEntry[] | undefined {
  if (body.length > MAX_BATCH_BYTES) return undefined;
  const end = Math.max(0, indexOf.call(body, LINE_FEED));
  const json = parseJson(body.subarray(0, end), defaultLimits);
  const entries = "value" in json
    ? headSchema.safeParse(json.value).data
    : undefined;
  let offset = end + 1;
  const replies = entries?.map((
    [length, correlationId, headers],
  ): BatchEntry => ({
    body: body.subarray(offset, offset += length),
    headers,
    correlationId,
  }));
  const isComplete = offset === body.length &&
    `${replies?.length}` === headers[header.batch];
  return isComplete ? replies : undefined;
}

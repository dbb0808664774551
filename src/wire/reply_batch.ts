/**
 * Batches: several replies to one caller in one message, a format of Warren's own. The first line is a JSON array with
 * the properties of each reply, as `[bytes of its body, correlation id, headers]`; those of an item of a stream that
 * follows an item of the same stream may be `[bytes of its body]`. The bodies follow, one after the other.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { JsonObject } from "./rpc_message.ts";
import { batchHeaders, header, numberFrom } from "./headers.ts";
import { defaultLimits, isJsonObject, parseJson } from "./json.ts";

/** Reply in a batch, or a batch as a whole. */
export interface BatchEntry {
  /** Body. */
  readonly body: Uint8Array;
  /** Warren's own headers. */
  readonly headers: JsonObject;
  /** Id of the call that the reply belongs to. */
  readonly correlationId?: string | undefined;
}

/** First version with batches of replies. */
export const BATCH_VERSION = 2;
/** First version with items of streams that have no headers of their own in a batch. */
export const ITEM_BATCH_VERSION = 3;

/** Largest batch, in bytes and in replies. */
const MAX_BATCH_BYTES = 64 * 1024;
const MAX_BATCH_REPLIES = 256;
/** Largest body that is put into a batch: copying a larger one would take longer than it saves. */
const MAX_BATCHED_BODY_BYTES = 8 * 1024;

/** Returns the headers of the next item of the same stream, if all others are the same. */
function nextItemHeaders(headers: JsonObject): JsonObject | undefined {
  const sequence = numberFrom(headers[header.sequence]);
  return typeof sequence === "number"
    ? { ...headers, [header.sequence]: `${sequence + 1}` }
    : undefined;
}

/** True if `nextItemHeaders` returns these headers. */
function isNextItem(previous: JsonObject, headers: JsonObject): boolean {
  const sequence = Number(previous[header.sequence]);
  if (headers[header.sequence] !== `${sequence + 1}`) return false;
  const names = Object.keys(headers);
  return names.length === Object.keys(previous).length &&
    names.every((name) =>
      name === header.sequence || headers[name] === previous[name]
    );
}

/** Collects replies for one batch. */
export class ReplyBatch<T extends BatchEntry> {
  /** Replies in order. */
  readonly replies: T[] = [];
  readonly #heads: string[] = [];
  #bytes = "[]\n".length;

  /**
   * Adds a reply to a reader of this version of Warren's headers; returns false if it does not fit into the batch. A large
   * reply fits only into an empty batch, and nothing fits after it.
   */
  add(reply: T, maxBytes: number, version = BATCH_VERSION): boolean {
    const { body } = reply;
    const line = this.#head(reply, version);
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

  /** Returns the properties of a reply as JSON; only its length if it is the next item of the stream of the last reply. */
  #head({ body, correlationId = "", headers }: T, version: number): string {
    const last = this.replies.at(-1);
    return version >= ITEM_BATCH_VERSION && last !== undefined &&
        last.correlationId === correlationId &&
        isNextItem(last.headers, headers)
      ? `[${body.length}]`
      : JSON.stringify([body.length, correlationId, headers]);
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

/** Returns true if a message is a batch. */
export const isBatch = (headers: JsonObject): boolean =>
  header.batch in headers;

/** Properties of a reply in the first line of a batch. */
type Head = Required<Omit<BatchEntry, "body">> & { readonly length: number };

const isLength = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) > 0;

/**
 * Returns the properties of a reply; undefined if they are invalid, which a schema would take several times as long to
 * find. A control command cannot be part of a batch.
 */
function headOf(value: unknown, previous: Head | undefined): Head | undefined {
  if (!Array.isArray(value) || value.length > 3) return undefined;
  const length: unknown = value[0];
  const correlationId: unknown = value[1];
  const headers: unknown = value[2];
  if (!isLength(length)) return undefined;
  if (correlationId === undefined && headers === undefined) {
    const next = previous && nextItemHeaders(previous.headers);
    return next && { ...previous, length, headers: next };
  }
  return typeof correlationId === "string" && isJsonObject(headers) &&
      !(header.control in headers)
    ? { length, correlationId, headers }
    : undefined;
}

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
  const heads = "value" in json && Array.isArray(json.value) ? json.value : [];
  if (heads.length === 0 || heads.length > MAX_BATCH_REPLIES) return undefined;
  const replies: BatchEntry[] = [];
  let offset = end + 1;
  let head: Head | undefined;
  for (const each of heads) {
    head = headOf(each, head);
    if (!head) return undefined;
    const { length, correlationId, headers } = head;
    const part = body.subarray(offset, offset += length);
    replies.push({ body: part, headers, correlationId });
  }
  const isComplete = offset === body.length &&
    `${replies.length}` === headers[header.batch];
  return isComplete ? replies : undefined;
}

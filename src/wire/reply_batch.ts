/**
 * Several answers to one caller in one message: Warren's own. The first line is a JSON array that says of each what its
 * properties would say, as `[bytes of its body, correlation id, headers]`; then come the bodies, one after the other.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { z } from "npm:zod@^4.6.7";
import type { JsonObject } from "./rpc_message.ts";
import { batchHeaders, header } from "./headers.ts";
import { defaultLimits, parseJson } from "./json.ts";

/** An answer in a batch, or a batch itself. */
export interface BatchPart {
  /** Bytes. */
  readonly body: Uint8Array;
  /** Warren's own headers. */
  readonly headers: JsonObject;
  /** The call that it belongs to. */
  readonly correlationId?: string | undefined;
}

/** Bytes of a batch at most, and answers in it. */
const MAX_PARTS = { bytes: 64 * 1024, answers: 256 };
/** Bytes of an answer that goes with others at most: copying it would take longer than it saves. */
const LARGE_BODY_BYTES = 8 * 1024;

/** Answers that are put together. */
export class ReplyBatch<T extends BatchPart> {
  /** In their order. */
  readonly parts: T[] = [];
  readonly #heads: string[] = [];
  #bytes = "[]\n".length;

  /** False if it does not go with those that are there; one that is large goes with none. */
  add(part: T, most: number): boolean {
    const { body, correlationId, headers } = part;
    const head = JSON.stringify([body.length, correlationId ?? "", headers]);
    const bytes = this.#bytes + Buffer.byteLength(head) + 1 + body.length;
    const fits = bytes <= Math.min(most, MAX_PARTS.bytes) &&
      this.parts.length < MAX_PARTS.answers && body.length <= LARGE_BODY_BYTES;
    if (!fits && this.parts.length > 0) return false;
    this.parts.push(part);
    this.#heads.push(head);
    this.#bytes = fits ? bytes : Infinity;
    return true;
  }

  /** All of them as one message. */
  get encode(): BatchPart {
    const line = Buffer.from(`[${this.#heads.join()}]\n`);
    const body = Buffer.concat([line, ...this.parts.map(({ body }) => body)]);
    return { body, headers: batchHeaders(this.parts.length) };
  }
}

const LINE_FEED = 0x0a;

/** That of a `Buffer` is slower. */
const { indexOf } = Uint8Array.prototype;

const answer = z.tuple([z.int().positive(), z.string(), z.looseObject({})])
  .refine(([, , headers]) => !(header.control in headers), "no control");
const headSchema = z.array(answer).min(1).max(MAX_PARTS.answers);

/** Whether a message is a batch. */
export const isBatch = (headers: JsonObject): boolean =>
  header.batch in headers;

/** The answers in a batch, each to be decoded by itself; undefined if it is none. Never throws. */
export function decodeBatch(
  { body, headers }: BatchPart,
): readonly BatchPart[] | undefined {
  if (body.length > MAX_PARTS.bytes) return undefined;
  const end = Math.max(0, indexOf.call(body, LINE_FEED));
  const json = parseJson(body.subarray(0, end), defaultLimits);
  const head = "value" in json
    ? headSchema.safeParse(json.value).data
    : undefined;
  let at = end + 1;
  const parts = head?.map(([length, correlationId, headers]): BatchPart => ({
    body: body.subarray(at, at += length),
    headers,
    correlationId,
  }));
  const whole = at === body.length &&
    `${parts?.length}` === headers[header.batch];
  return whole ? parts : undefined;
}

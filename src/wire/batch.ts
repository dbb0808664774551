/**
 * Several answers to one caller in one message: Warren's own. The first line is a JSON array that says of each what its
 * properties would say, as `[bytes of its body, correlation id, headers]`; then come the bodies, one after the other.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { z } from "npm:zod@^4.6.7";
import type { Fields } from "./envelope.ts";
import { batchHeaders, header } from "./headers.ts";
import { type Limits, parseJson } from "./json.ts";

/** An answer in a batch, or the batch itself. */
export interface Part {
  /** Bytes. */
  readonly body: Uint8Array;
  /** Warren's own headers. */
  readonly headers: Fields;
  /** The call that it belongs to. */
  readonly correlationId?: string | undefined;
}

const LINE_FEED = 0x0a;

/** That of a `Buffer` is slower. */
const { indexOf } = Uint8Array.prototype;

const headSchema = z.array(z.tuple([
  z.int().positive(),
  z.string(),
  z.looseObject({}),
]));

/** Puts answers together, in their order. */
export function batch(parts: readonly Part[]): Part {
  const head = parts.map(({ body, correlationId = "", headers }) => [
    body.length,
    correlationId,
    headers,
  ]);
  const line = Buffer.from(`${JSON.stringify(head)}\n`);
  const body = Buffer.concat([line, ...parts.map(({ body }) => body)]);
  return { body, headers: batchHeaders(parts.length) };
}

/** Whether a message is a batch. */
export const isBatch = (headers: Fields): boolean => header.batch in headers;

/** The answers in a batch, each to be decoded by itself; undefined if it is none. Never throws. */
export function partsOf(
  bytes: Uint8Array,
  limits: Limits,
): readonly Part[] | undefined {
  const end = Math.max(0, indexOf.call(bytes, LINE_FEED));
  const json = parseJson(bytes.subarray(0, end), limits);
  const head = "value" in json
    ? headSchema.safeParse(json.value).data
    : undefined;
  let at = end + 1;
  const parts = head?.map(([length, correlationId, headers]): Part => ({
    body: bytes.subarray(at, at += length),
    headers,
    correlationId,
  }));
  return at === bytes.length ? parts : undefined;
}

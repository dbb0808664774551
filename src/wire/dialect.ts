/** Dialects: the reply form that requests ask for, and the envelope around bodies. @module */
import { Buffer } from "node:buffer";
import type {
  JsonObject,
  Notification,
  Reply,
  ReplyAddress,
  ReplyForm,
  Request,
} from "./rpc_message.ts";
import { isEnvelope } from "./oslo.ts";

/** Message with a body. Control commands consist of headers alone. */
export type BodyMessage = Request | Reply | Notification;

/** Message in the neutral form that is not validated yet. */
export type RawMessage =
  & { readonly kind: BodyMessage["kind"] }
  & JsonObject;

/** Dialect of one generation of peers. */
export interface Dialect {
  /** Name, as in the `dialect` option. */
  readonly name: "folsom" | "grizzly" | "oslo";
  /** Reply form that requests ask for. */
  readonly replyForm: ReplyForm;
  /** True if messages have ids (`_unique_id`). */
  readonly hasIds: boolean;
  /** Wraps the JSON text of a body in the dialect's envelope, if it has one. */
  seal(text: string): string;
}

/**
 * Folsom (2012.2): no message ids, one reply queue for each call, named after the call's id, and replies of two
 * messages (Folsom `rpc/amqp.py`, `_process_data`).
 */
export const folsom: Dialect = {
  name: "folsom",
  replyForm: "perCallQueue",
  hasIds: false,
  seal: (text) => text,
};

/**
 * The default dialect: no envelope, as in Grizzly (2013.1), with `_reply_q` and `_unique_id`, and with the `_timeout`
 * of today's oslo.messaging, so that servers of Folsom, Grizzly and oslo.messaging all reply to it.
 */
export const grizzly: Dialect = {
  name: "grizzly",
  replyForm: "oneMessage",
  hasIds: true,
  seal: (text) => text,
};

/** oslo.messaging: the body is a JSON text within an envelope (Havana `rpc/common.py`, `serialize_msg`). */
export const oslo: Dialect = {
  name: "oslo",
  replyForm: "oneMessage",
  hasIds: true,
  seal: (text) =>
    JSON.stringify({ "oslo.version": VERSION, "oslo.message": text }),
};

/** Version of the envelope. */
const VERSION = "2.0";

/** Dialects by name. */
export const dialects: Readonly<Record<Dialect["name"], Dialect>> = {
  folsom,
  grizzly,
  oslo,
};

/**
 * Copies an encoded reply for another call. The copy has a message id of its own if the original has one, since a
 * reader drops a message with an id that it has seen.
 */
export function copyForCall(
  body: Uint8Array,
  call: string,
  id: string,
): Uint8Array {
  const outer: JsonObject = JSON.parse(Buffer.from(body).toString());
  const enveloped = isEnvelope(outer);
  const inner: Record<string, unknown> = enveloped
    ? JSON.parse(String(outer["oslo.message"]))
    : { ...outer };
  if ("_msg_id" in inner) inner._msg_id = call;
  if ("_unique_id" in inner) inner._unique_id = id;
  const text = JSON.stringify(inner);
  return Buffer.from(enveloped ? oslo.seal(text) : text);
}

/** Bytes at each end of a large body that are searched. */
const MAX_EXCERPT_BYTES = 64 * 1024;

/** Keys that were found in a body that is not decoded. */
export interface BodyExcerpt {
  /** Id of the call. */
  readonly call: string | undefined;
  /** Address for a reply. */
  readonly reply: ReplyAddress | undefined;
  /** Dialect of the message. */
  readonly dialect: Dialect;
}

/** Returns the last text with that key, in JSON or in a JSON text within JSON. */
function lastMatch(text: string, key: string): string | undefined {
  const pattern = new RegExp(
    `\\\\?"${key}\\\\?" ?: ?\\\\?"([\\w.:-]{1,255})\\\\?"`,
    "g",
  );
  let match: string | undefined;
  for (const [, value] of text.matchAll(pattern)) match = value;
  return match;
}

/**
 * Searches the two ends of a body for the keys of Nova's messages. Arguments may have the same keys, so the result is a
 * guess, used only where the body cannot be decoded.
 */
export function excerptOf(body: Uint8Array): BodyExcerpt {
  const ends = body.length <= 2 * MAX_EXCERPT_BYTES
    ? [body]
    : [body.subarray(0, MAX_EXCERPT_BYTES), body.subarray(-MAX_EXCERPT_BYTES)];
  const text = Buffer.concat(ends).toString("latin1");
  const call = lastMatch(text, "_msg_id");
  const queue = lastMatch(text, "_reply_q");
  const dialect = text.includes('"oslo.version"') ? oslo : grizzly;
  if (call === undefined) return { call, reply: undefined, dialect };
  const form = queue === undefined
    ? "perCallQueue"
    : text.includes("_timeout")
    ? "oneMessage"
    : "twoMessages";
  return { call, reply: { call, queue: queue ?? call, form }, dialect };
}

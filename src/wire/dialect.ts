/** How a message is said: what a request asks for, and what is put around the body. @module */
import { Buffer } from "node:buffer";
import type {
  JsonObject,
  Notification,
  Reply,
  ReplyForm,
  Request,
} from "./rpc_message.ts";
import { isEnvelope } from "./oslo.ts";

/** What a dialect says in a body of its own (controls travel in headers alone). */
export type BodyMessage = Request | Reply | Notification;

/** One way of saying things; pure, and knows nothing of queues. */
export interface Dialect {
  /** Name, as in the `dialect` option. */
  readonly name: "folsom" | "grizzly" | "oslo";
  /** Form of the answer that its requests ask for. `bare`: each call has a reply queue of its own. */
  readonly replyForm: ReplyForm;
  /** Whether messages have ids (`_unique_id`). */
  readonly hasIds: boolean;
  /** What goes over the wire for the text of a body. */
  seal(text: string): string;
}

/**
 * Folsom (2012.2): no ids, a queue for the answers of each call, which is named by its id, and answers of two messages
 * (Folsom `rpc/amqp.py`, `_process_data`).
 */
export const folsom: Dialect = {
  name: "folsom",
  replyForm: "bare",
  hasIds: false,
  seal: (text) => text,
};

/**
 * The default: un-enveloped as Grizzly (2013.1), with `_reply_q` and `_unique_id`, and with the `_timeout` of today's
 * oslo.messaging, so that Folsom, Grizzly and oslo.messaging servers all answer it.
 */
export const grizzly: Dialect = {
  name: "grizzly",
  replyForm: "single",
  hasIds: true,
  seal: (text) => text,
};

/** oslo.messaging: the body is a text within an envelope (Havana `rpc/common.py`, `serialize_msg`). */
export const oslo: Dialect = {
  name: "oslo",
  replyForm: "single",
  hasIds: true,
  seal: (text) =>
    JSON.stringify({ "oslo.version": VERSION, "oslo.message": text }),
};

/** Version of the envelope. */
const VERSION = "2.0";

/** By their names. */
export const dialects: Readonly<Record<Dialect["name"], Dialect>> = {
  folsom,
  grizzly,
  oslo,
};

/** The same body with another call and an id of its own, where it says any: who reads several calls may drop what came before. */
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

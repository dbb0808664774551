/** An answer that was said to one call, for another call. @module */
import { Buffer } from "node:buffer";
import { oslo } from "./dialect.ts";
import type { Fields } from "./envelope.ts";
import { isEnvelope } from "./oslo.ts";

/** The same body with another call and an id of its own, where it says any: who reads several calls may drop what came before. */
export function readdressed(
  body: Uint8Array,
  call: string,
  id: string,
): Uint8Array {
  const outer: Fields = JSON.parse(Buffer.from(body).toString());
  const enveloped = isEnvelope(outer);
  const inner: Record<string, unknown> = enveloped
    ? JSON.parse(String(outer["oslo.message"]))
    : { ...outer };
  if ("_msg_id" in inner) inner._msg_id = call;
  if ("_unique_id" in inner) inner._unique_id = id;
  const text = JSON.stringify(inner);
  return Buffer.from(enveloped ? oslo.seal(text) : text);
}

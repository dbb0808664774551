/** The envelope of oslo.messaging, as it arrives: JSON text within JSON. @module */
import type { Fields } from "./envelope.ts";
import { type Limits, parseJson } from "./json.ts";

const utf8 = new TextEncoder();

/** True for an envelope, of whatever version (Havana `rpc/common.py`, `deserialize_msg`: both keys). */
export function isEnvelope(fields: Fields): boolean {
  return "oslo.version" in fields && "oslo.message" in fields;
}

/** What is in an envelope, or why it is refused. Readable: the same major version, no newer minor one. */
export function unseal(
  fields: Fields,
  limits: Limits,
): { readonly value: unknown } | { readonly refused: string } {
  const { "oslo.version": version, "oslo.message": text } = fields;
  if (version !== "2.0") {
    return { refused: "an envelope of an unknown version" };
  }
  if (typeof text !== "string") {
    return { refused: "an envelope without a text" };
  }
  // The body around it was measured already.
  return parseJson(utf8.encode(text), { ...limits, bytes: Infinity });
}

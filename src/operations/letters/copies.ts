/** Copies of dead letters: for their queue, where they run again, and for their place among the dead letters. @module */
import type { Message } from "../../transport/transport.ts";
import { forwardedHeaders, isShortString } from "../../wire/mod.ts";

/**
 * Returns the copy that runs again: the same body, id, trace and application headers, and count of burials. Its attempts
 * begin at 1, and its time to live is over.
 */
export function replayedCopy(message: Message): Message {
  return { ...common(message), headers: forwardedHeaders(message.headers) };
}

/** Returns a copy that stays a dead letter, without the counts of the broker. */
export function sameLetter(message: Message): Message {
  const kept = Object.entries(message.headers).filter(isKept);
  return { ...common(message), headers: Object.fromEntries(kept) };
}

function common(message: Message): Message {
  const { body, headers, oversized } = message;
  const short = (text: string | undefined) =>
    text !== undefined && isShortString(text) ? text : undefined;
  return {
    ...{ body, headers, oversized },
    messageId: short(message.messageId),
    correlationId: short(message.correlationId),
    replyTo: short(message.replyTo),
    persistent: true,
    mandatory: true,
  };
}

/** True for a header that a message can be sent with, and that neither routes it nor belongs to the broker. */
function isKept([name, value]: readonly [string, unknown]): boolean {
  const fits = value instanceof Uint8Array || value === null ||
    ["string", "number", "boolean"].includes(typeof value);
  return fits && isShortString(name) && !name.startsWith("x-") &&
    name !== "CC" && name !== "BCC";
}

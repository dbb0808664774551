/** Messages as texts, to be kept in a store. @module */
import { Buffer } from "node:buffer";
import type { Message } from "../transport/transport.ts";

/** What is kept of one. */
interface Kept extends Omit<Message, "body"> {
  /** Body, in base64. */
  readonly body: string;
}

/** As one text. What a broker has put into the headers is its own; all of Warren's are texts. */
export function toText(messages: readonly Message[]): string {
  const kept = messages.map(({ body, headers, ...rest }): Kept => ({
    ...rest,
    headers: Object.fromEntries(
      Object.entries(headers).filter(([, value]) => typeof value === "string"),
    ),
    body: Buffer.from(body).toString("base64"),
  }));
  return JSON.stringify(kept);
}

/** Back from a text of `toText`. */
export function fromText(text: string): readonly Message[] {
  const kept = JSON.parse(text) as readonly Kept[];
  return kept.map(({ body, ...rest }): Message => ({
    ...rest,
    body: new Uint8Array(Buffer.from(body, "base64")),
  }));
}

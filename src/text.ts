/** Prepares texts for logs and error messages: one line, without control characters, of limited length. @module */

/** Converts any value to a text, also one whose conversion throws. */
export function textOf(value: unknown): string {
  try {
    return String(value);
  } catch {
    return `a value of type ${typeof value}`;
  }
}

const unicodeEscape = (c: string) =>
  `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** Formats any value as one short line without control characters, for the message of an error. */
export function oneLine(value: unknown, limit = 200): string {
  const text = typeof value === "string" ? value : textOf(value);
  const line = JSON.stringify(text.slice(0, limit)).slice(1, -1)
    .replace(/[\u007f-\u009f\u2028\u2029]/g, unicodeEscape);
  return text.length > limit ? `${line}… (${text.length} characters)` : line;
}

/** Characters that end a line, move the cursor, or change the direction of writing. */
const CONTROLS = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;

const NAMED_ESCAPES = new Map([["\n", "\\n"], ["\r", "\\r"], ["\t", "\\t"]]);

/** Escapes control characters. Quotes and backslashes stay, so that a text may be escaped twice. */
export function escapeControls(text: string): string {
  return text.replace(
    CONTROLS,
    (c) => NAMED_ESCAPES.get(c) ?? unicodeEscape(c),
  );
}

/** Bytes of a character in UTF-8. A backslash and a quote count twice, since a JSON formatter escapes them. */
function loggedBytesOf(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x80) return character === "\\" || character === '"' ? 2 : 1;
  if (code < 0x800) return 2;
  return code < 0x10000 ? 3 : 4;
}

/** Returns the maximum number of bytes of a text in a log. */
export function loggedBytes(text: string): number {
  let size = 0;
  for (const character of text) size += loggedBytesOf(character);
  return size;
}

/** Shortens a text to `maxBytes` bytes in a log; an ellipsis marks what is missing. */
export function truncate(text: string, maxBytes: number): string {
  let size = 0;
  let end = 0;
  let offset = 0;
  for (const character of text) {
    size += loggedBytesOf(character);
    offset += character.length;
    if (size <= maxBytes - 3) end = offset;
    if (size > maxBytes) return `${text.slice(0, end)}…`;
  }
  return text;
}

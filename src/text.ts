/** Texts as people may read them: one line, without control characters, and not too long. @module */

/** Any value as text; whoever threw it may have thrown anything. */
export function textOf(value: unknown): string {
  try {
    return String(value);
  } catch {
    return `something of type ${typeof value}`;
  }
}

const escape = (c: string) =>
  `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** Any value as one short line without control characters, for an error's text. */
export function oneLine(value: unknown, limit = 200): string {
  const text = typeof value === "string" ? value : textOf(value);
  const line = JSON.stringify(text.slice(0, limit)).slice(1, -1)
    .replace(/[\u007f-\u009f\u2028\u2029]/g, escape);
  return text.length > limit ? `${line}… (${text.length} characters)` : line;
}

/** Characters that end a line, move the cursor, or change the direction of writing. */
const CONTROLS = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;

const SHORT = new Map([["\n", "\\n"], ["\r", "\\r"], ["\t", "\\t"]]);

/** A text without control characters. Quotes and backslashes stay, so that it may be escaped twice. */
export function escaped(text: string): string {
  return text.replace(CONTROLS, (c) => SHORT.get(c) ?? escape(c));
}

/** Bytes of UTF-8 of a character; those that a log may write with a backslash before them count twice. */
function widthOf(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x80) return character === "\\" || character === '"' ? 2 : 1;
  if (code < 0x800) return 2;
  return code < 0x10000 ? 3 : 4;
}

/** Bytes that a text takes at most in a log. */
export function sizeOf(text: string): number {
  let size = 0;
  for (const character of text) size += widthOf(character);
  return size;
}

/** As much of a text as takes so many bytes in a log; an ellipsis stands for the rest. */
export function cut(text: string, room: number): string {
  let size = 0;
  let end = 0;
  let at = 0;
  for (const character of text) {
    size += widthOf(character);
    at += character.length;
    if (size <= room - 3) end = at;
    if (size > room) return `${text.slice(0, end)}…`;
  }
  return text;
}

/** Values as a log may show them: what looks like a secret is masked (Folsom `rpc/common.py`, `_safe_log`). @module */

/** How names end whose values are secrets, whatever they are. */
const ENDINGS =
  "(?:pass|password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|credentials?)";
const SECRET = new RegExp(`${ENDINGS}$`, "i");
/** What stands for a secret. */
const MASK = "<SANITIZED>";
/** Nested values that are looked at, and values in all. */
const DEEP = 64;
const MOST = 10_000;

/** True for the name of something that no log, and no event, should hold. */
export function isSecret(key: string): boolean {
  return SECRET.test(key);
}

/** A copy whose secrets are masked; what is too deep, too much, or within itself, is not shown. */
export function masked(value: unknown): unknown {
  return copy(value, { left: MOST, within: new Set() });
}

interface Copying {
  /** How many more values are looked at. */
  left: number;
  /** Objects around this value. */
  readonly within: Set<object>;
}

function copy(value: unknown, copying: Copying): unknown {
  if (copying.left-- <= 0) return "…";
  if (typeof value !== "object" || value === null) return value;
  const { within } = copying;
  if (within.size >= DEEP || within.has(value)) return "…";
  within.add(value);
  const entries = Object.entries(value).map(([key, item]) => [
    key,
    isSecret(key) ? MASK : copy(item, copying),
  ]);
  within.delete(value);
  return Array.isArray(value)
    ? entries.map(([_, item]) => item)
    : Object.fromEntries(entries);
}

/** The part of a URL before its host, and what follows a name of a secret. */
const USER = /(:\/\/)[^\s"'<>]{1,512}@/g;
const SAID = new RegExp(
  String
    .raw`\b([\w-]{0,64}${ENDINGS}["']?\s{0,8}[=:]\s{0,8})("[^"]*"|'[^']*'|[^\s"',;&]+)`,
  "gi",
);
/** Characters of a text that are shown, and how many more are looked at, lest a secret be cut in two. */
const LONG = 10_000;
const BEYOND = 600;

/** A text with what looks like a secret in it masked. */
export function maskedText(text: string): string {
  return text.slice(0, LONG + BEYOND)
    .replace(USER, `$1${MASK}@`)
    .replace(SAID, `$1${MASK}`)
    .slice(0, LONG);
}

/** Errors within errors that are looked at. */
const CAUSES = 4;

/** What was thrown, as a log may show it: an error with its stack, its data masked, and nothing else that it carries. */
export function loggable(thrown: unknown, depth: number = CAUSES): unknown {
  if (typeof thrown === "string") return maskedText(thrown);
  try {
    if (!(thrown instanceof Error) || depth === 0) return masked(thrown);
    const { name, message, cause } = thrown;
    const stack = maskedText(`${thrown.stack}`);
    const shown = new Error(maskedText(message));
    const more = {
      ...("data" in thrown && { data: masked(thrown.data) }),
      ...(cause !== undefined && { cause: loggable(cause, depth - 1) }),
    };
    return Object.assign(shown, { name, stack }, more);
  } catch {
    return "what cannot be read";
  }
}

/** Values as a log may show them: what looks like a secret is masked (Folsom `rpc/common.py`, `_safe_log`). @module */

/** Keys whose values are secrets, whatever they are. */
const SECRET =
  /(pass|password|passwd|passphrase|secret|token|api_?key|private_?key|credentials?)$/i;
/** What stands for a secret. */
const MASK = "<SANITIZED>";
/** Nested values that are looked at. */
const DEEP = 64;

/** True for the name of something that no log, and no event, should hold. */
export function isSecret(key: string): boolean {
  return SECRET.test(key);
}

/** A copy whose secrets are masked. */
export function masked(value: unknown, depth: number = DEEP): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (depth === 0) return "…";
  if (Array.isArray(value)) return value.map((item) => masked(item, depth - 1));
  const entries = Object.entries(value).map(([key, item]) => [
    key,
    isSecret(key) ? MASK : masked(item, depth - 1),
  ]);
  return Object.fromEntries(entries);
}

/** The part of a URL before its host, and what follows a name of a secret. */
const USER = /(:\/\/)[^\s@"'<>]{1,512}@/g;
const SAID =
  /\b(\w{0,64}(?:pass|password|passwd|passphrase|secret|token|api_?key|private_?key)["']?\s{0,8}[=:]\s{0,8}["']?)[^\s"',;&]+/gi;

/** A text with what looks like a secret in it masked. */
export function maskedText(text: string): string {
  return text.replace(USER, `$1${MASK}@`).replace(SAID, `$1${MASK}`);
}

/** Errors within errors that are looked at. */
const CAUSES = 4;

/** What was thrown, as a log may show it: an error with its stack, its data masked, and nothing else that it carries. */
export function loggable(thrown: unknown, depth: number = CAUSES): unknown {
  if (!(thrown instanceof Error) || depth === 0) return masked(thrown);
  try {
    const { name, message, cause } = thrown;
    const stack = maskedText(`${thrown.stack}`);
    const shown = new Error(maskedText(message));
    const more = {
      ...("data" in thrown && { data: masked(thrown.data) }),
      ...(cause !== undefined && { cause: loggable(cause, depth - 1) }),
    };
    return Object.assign(shown, { name, stack }, more);
  } catch {
    return "an error that cannot be read";
  }
}

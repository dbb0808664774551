/** Patterns of event types. @module */

/**
 * Returns a test for event types by a pattern, in which `*` stands for any characters. The test takes linear time, because
 * event types come from peers.
 */
export function matcher(
  pattern: string | undefined,
): (type: string) => boolean {
  if (pattern === undefined) return () => true;
  const [first = "", ...rest] = pattern.split("*");
  const last = rest.pop();
  if (last === undefined) return (type) => type === first;
  return (type) => {
    if (!type.startsWith(first) || !type.endsWith(last)) return false;
    let at = first.length;
    for (const part of rest) {
      const found = type.indexOf(part, at); // the leftmost match leaves the most text for the remaining parts
      if (found < 0) return false;
      at = found + part.length;
    }
    return at + last.length <= type.length;
  };
}

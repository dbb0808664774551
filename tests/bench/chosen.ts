/** What an argument of the command names. */

/**
 * Those that are named, in their own order; all of them without an argument. Names are separated by commas or semicolons
 * without a space behind them, since a name may have a comma with a space.
 */
export function chosen<T extends { readonly name: string }>(
  all: readonly T[],
  wanted: string | undefined,
): T[] {
  if (wanted === undefined) return [...all];
  const names = wanted.split(/[,;](?! )/);
  const unknown = names.find((name) => !all.some((each) => each.name === name));
  if (unknown === undefined) {
    return all.filter(({ name }) => names.includes(name));
  }
  const known = all.map(({ name }) => name).join("; ");
  throw new Error(`Unknown: ${unknown}; give some of: ${known}`);
}

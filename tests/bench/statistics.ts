/** Medians and spreads of a few rounds. */

/** The middle of some figures; NaN of none. */
export function median(figures: readonly number[]): number {
  const sorted = [...figures].sort((a, b) => a - b);
  const half = sorted.length / 2;
  const [low = NaN, high = low] = sorted.slice(
    Math.ceil(half) - 1,
    Math.floor(half) + 1,
  );
  return (low + high) / 2;
}

/** A median with the least and the most. */
export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

/** Of some figures. */
export function spread(figures: readonly number[]): Spread {
  return {
    median: median(figures),
    least: Math.min(...figures),
    most: Math.max(...figures),
  };
}

/** Quotients of the rounds that both have: what disturbs a round disturbs both. */
export function ratios<T>(
  of: readonly (T | undefined)[],
  to: readonly (T | undefined)[],
  figure: (each: T) => number | undefined,
): number[] {
  return of.flatMap((each, round) => {
    const other = to[round];
    const [above, below] = [each && figure(each), other && figure(other)];
    return above === undefined || below === undefined ? [] : [above / below];
  });
}

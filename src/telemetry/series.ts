/** Descriptions of instruments, and the values that they have collected. @module */

/** Description of an instrument. */
export interface InstrumentOptions {
  /** Name by the conventions. */
  readonly name: string;
  /** Kind. A gauge is read when the figures are read. */
  readonly kind: "counter" | "histogram" | "gauge";
  /** Unit: `s` for seconds, or what is counted in braces. */
  readonly unit: string;
  /** Description in one sentence. */
  readonly description: string;
  /** Returns the attributes of a series by its values; one with an empty value is left out. */
  readonly attributesOf: (
    values: readonly string[],
  ) => Readonly<Record<string, string>>;
  /** Upper bounds of the buckets of a histogram. */
  readonly buckets?: readonly number[];
}

/** One series of an instrument: its attributes, and its value or its buckets. */
export class Series {
  /** Attributes without empty values. */
  readonly attributes: Readonly<Record<string, string>>;
  /** Numbers of values up to each bound; the last one is for larger values. Empty for a counter. */
  readonly counts: Float64Array;
  readonly #bounds: readonly number[];
  #sum = 0;

  /** Creates a series without values. */
  constructor(
    attributes: Readonly<Record<string, string>>,
    bounds: readonly number[] | undefined,
  ) {
    this.attributes = attributes;
    this.#bounds = bounds ?? [];
    this.counts = new Float64Array(bounds ? bounds.length + 1 : 0);
  }

  /** Sum of all values. */
  get sum(): number {
    return this.#sum;
  }

  /** Adds a value. */
  add(value: number): void {
    this.#sum += value;
    if (this.counts.length === 0) return;
    const bounds = this.#bounds;
    let at = 0;
    while (at < bounds.length && value > (bounds[at] ?? 0)) at++;
    this.counts[at] = (this.counts[at] ?? 0) + 1;
  }
}

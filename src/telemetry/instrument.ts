/**
 * An instrument of this process: keeps its figures for `GET /metrics`, and passes them to OpenTelemetry's meter if the
 * process has one.
 *
 * @module
 */
import { logger } from "../logging.ts";
import { OTHER } from "./conventions.ts";
import { meterFor } from "./meter.ts";
import { type InstrumentOptions, Series } from "./series.ts";

/** Maximum number of series of an instrument. Further ones are counted together, with `_OTHER` for each attribute. */
const MAX_SERIES = 1_000;

/** Values of a gauge with their attributes. */
export type GaugeReader = () => Iterable<
  readonly [values: readonly string[], value: number]
>;

/** An instrument with its series. */
export class Instrument {
  /** Description. */
  readonly options: InstrumentOptions;
  readonly #series = new Map<string, Series>();
  readonly #readers = new Set<GaugeReader>();

  /** Creates an instrument without series. */
  constructor(options: InstrumentOptions) {
    this.options = options;
  }

  /** Adds a value to the series with these attributes: to a counter, or to a histogram. */
  record(value: number, values: readonly string[]): void {
    const series = this.#seriesOf(values);
    series.add(value);
    meterFor(this.options)?.(value, series.attributes);
  }

  /** Adds a reader of a gauge, until disposed. The values of all readers with the same attributes are added up. */
  observe(reader: GaugeReader): Disposable {
    this.#readers.add(reader);
    meterFor(this.options, () => this.series());
    return { [Symbol.dispose]: () => void this.#readers.delete(reader) };
  }

  /** Returns the series, of a gauge with their current values. */
  series(): Iterable<Series> {
    if (this.options.kind !== "gauge") return this.#series.values();
    this.#series.clear();
    for (const read of this.#readers) {
      for (const [values, value] of read()) this.#seriesOf(values).add(value);
    }
    return this.#series.values();
  }

  #seriesOf(values: readonly string[]): Series {
    const key = values.join("\0");
    return this.#series.get(key) ?? this.#create(key, values);
  }

  #create(key: string, values: readonly string[]): Series {
    if (this.#series.size >= MAX_SERIES) {
      const others = this.options.attributes.map(() => OTHER);
      const known = this.#series.get(others.join("\0"));
      if (known) return known;
      logger("telemetry").warn(
        "The metric {name} has {limit} series: further ones are counted together as {other}",
        { name: this.options.name, limit: MAX_SERIES, other: OTHER },
        this.options.name,
      );
      return this.#add(others.join("\0"), others);
    }
    return this.#add(key, values);
  }

  #add(key: string, values: readonly string[]): Series {
    const { attributes, buckets } = this.options;
    const entries = attributes.map((name, at) => [name, values[at] ?? ""])
      .filter(([, value]) => value !== "");
    const series = new Series(
      Object.freeze(Object.fromEntries(entries)),
      buckets,
    );
    this.#series.set(key, series);
    return series;
  }
}

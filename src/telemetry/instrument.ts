/**
 * An instrument of this process: keeps its figures for `GET /metrics`, and passes them to OpenTelemetry's meter if the
 * process has one.
 *
 * @module
 */
import { logger } from "../logging.ts";
import { OTHER } from "./conventions.ts";
import { meterFor, registerGauge } from "./meter.ts";
import { type InstrumentOptions, Series } from "./series.ts";

/** Maximum number of series of an instrument. Further ones are counted together, with `_OTHER` for each attribute. */
const MAX_SERIES = 1_000;

/** Maximum number of series of an instrument up to which further ones are prepared before they have a value. */
const MAX_PREPARED = 500;

/** Values of a gauge with their attributes. */
export type GaugeReader = () => Iterable<
  readonly [values: readonly string[], value: number]
>;

/** Series by the values of their attributes, one level for each value, so that no key has to be built. */
interface Level {
  series: Series | undefined;
  readonly next: Map<string, Level>;
}

const newLevel = (): Level => ({ series: undefined, next: new Map() });

/** An instrument with its series. */
export class Instrument {
  /** Description. */
  readonly options: InstrumentOptions;
  #root = newLevel();
  #series: Series[] = [];
  readonly #readers = new Set<GaugeReader>();
  #warned = false;

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

  /**
   * Makes a series without a value known, so that its first increase can be seen; not if there are many series, whose room
   * is for those with values.
   */
  prepare(values: readonly string[]): void {
    if (this.#series.length < MAX_PREPARED) this.#seriesOf(values);
  }

  /** Adds a reader of a gauge, until disposed. The values of all readers with the same attributes are added up. */
  observe(reader: GaugeReader): Disposable {
    if (this.#readers.size === 0) {
      registerGauge({ options: this.options, read: () => this.series() });
    }
    this.#readers.add(reader);
    return { [Symbol.dispose]: () => void this.#readers.delete(reader) };
  }

  /** Returns the series, of a gauge with their current values. */
  series(): readonly Series[] {
    if (this.options.kind !== "gauge") return this.#series;
    this.#root = newLevel();
    this.#series = [];
    for (const read of this.#readers) {
      for (const [values, value] of read()) this.#seriesOf(values).add(value);
    }
    return this.#series;
  }

  #seriesOf(values: readonly string[]): Series {
    let level: Level | undefined = this.#root;
    for (const value of values) {
      level = level.next.get(value);
      if (!level) break;
    }
    return level?.series ?? this.#create(values);
  }

  #create(values: readonly string[]): Series {
    if (this.#series.length < MAX_SERIES) return this.#add(values);
    const last = this.#series[MAX_SERIES];
    if (last) return last;
    this.#warn();
    return this.#add(values.map(() => OTHER));
  }

  #warn(): void {
    if (this.#warned) return;
    this.#warned = true;
    logger("telemetry").warn(
      "The metric {name} has {limit} series: further ones are counted together as {other}",
      { name: this.options.name, limit: MAX_SERIES, other: OTHER },
      this.options.name,
    );
  }

  #add(values: readonly string[]): Series {
    let level = this.#root;
    for (const value of values) {
      const next: Level = level.next.get(value) ?? newLevel();
      level.next.set(value, next);
      level = next;
    }
    const { attributesOf, buckets } = this.options;
    const entries = Object.entries(attributesOf(values))
      .filter(([, value]) => value !== "");
    const attributes = Object.freeze(Object.fromEntries(entries));
    level.series = new Series(attributes, buckets);
    this.#series.push(level.series);
    return level.series;
  }
}

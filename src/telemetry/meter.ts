/** Meter: passes what Warren measures to OpenTelemetry, if the process has a meter provider. @module */
import {
  createNoopMeter,
  type Meter,
  type MeterProvider,
  metrics,
  type ObservableResult,
} from "npm:@opentelemetry/api@^1.9.0";
import { SCOPE } from "./conventions.ts";
import type { InstrumentOptions, Series } from "./series.ts";

/** Records a value with its attributes. */
type Recorder = (
  value: number,
  attributes: Readonly<Record<string, string>>,
) => void;

/** Provider for which `recorders` were created. */
let provider: MeterProvider | undefined;
/** Meter of the provider; undefined if it measures nothing. */
let meter: Meter | undefined;
const recorders = new Map<string, Recorder>();

/**
 * Returns the function that records values of an instrument; undefined while no provider is registered. Of a gauge, `read`
 * returns the series whenever the provider asks for them.
 */
export function meterFor(
  options: InstrumentOptions,
  read: () => Iterable<Series> = () => [],
): Recorder | undefined {
  const current = metrics.getMeterProvider();
  if (current !== provider) {
    provider = current;
    const own = current.getMeter(SCOPE);
    meter = own === createNoopMeter() ? undefined : own;
    recorders.clear();
  }
  if (!meter) return undefined;
  const known = recorders.get(options.name);
  if (known) return known;
  const created = create(meter, options, read);
  recorders.set(options.name, created);
  return created;
}

function create(
  meter: Meter,
  { name, kind, unit, description, buckets }: InstrumentOptions,
  read: () => Iterable<Series>,
): Recorder {
  const common = { unit, description };
  if (kind === "histogram") {
    const advice = { explicitBucketBoundaries: [...buckets ?? []] };
    const histogram = meter.createHistogram(name, { ...common, advice });
    return (value, attributes) => histogram.record(value, attributes);
  }
  if (kind === "counter") {
    const counter = meter.createCounter(name, common);
    return (value, attributes) => counter.add(value, attributes);
  }
  const gauge = meter.createObservableGauge(name, common);
  gauge.addCallback((result: ObservableResult) => {
    for (const { sum, attributes } of read()) result.observe(sum, attributes);
  });
  return () => {};
}

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

/** A gauge, and the function that returns its series. */
interface Gauge {
  readonly options: InstrumentOptions;
  readonly read: () => Iterable<Series>;
}
/** Gauges, which the provider of the process reads, also if it is registered after them. */
const gauges = new Map<string, Gauge>();

/** Registers a gauge. */
export function registerGauge(gauge: Gauge): void {
  gauges.set(gauge.options.name, gauge);
  if (followProvider()) createGauge(gauge);
}

/** Follows the registered provider. Returns its meter; undefined while no provider is registered. */
function followProvider(): Meter | undefined {
  const current = metrics.getMeterProvider();
  if (current === provider) return meter;
  provider = current;
  const own = current.getMeter(SCOPE);
  meter = own === createNoopMeter() ? undefined : own;
  recorders.clear();
  if (meter) { for (const gauge of gauges.values()) createGauge(gauge); }
  return meter;
}

/** Returns the function that records values of an instrument; undefined while no provider is registered. */
export function meterFor(options: InstrumentOptions): Recorder | undefined {
  const meter = followProvider();
  if (!meter) return undefined;
  const known = recorders.get(options.name);
  if (known) return known;
  const created = create(meter, options);
  recorders.set(options.name, created);
  return created;
}

function createGauge({ options: { name, ...options }, read }: Gauge): void {
  const { unit, description } = options;
  const gauge = meter?.createObservableGauge(name, { unit, description });
  gauge?.addCallback((result: ObservableResult) => {
    for (const { sum, attributes } of read()) result.observe(sum, attributes);
  });
}

function create(
  meter: Meter,
  { name, kind, unit, description, buckets }: InstrumentOptions,
): Recorder {
  const common = { unit, description };
  if (kind === "histogram") {
    const advice = { explicitBucketBoundaries: [...buckets ?? []] };
    const histogram = meter.createHistogram(name, { ...common, advice });
    return (value, attributes) => histogram.record(value, attributes);
  }
  const counter = meter.createCounter(name, common);
  return (value, attributes) => counter.add(value, attributes);
}

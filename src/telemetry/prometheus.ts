/** The figures of this process, and of several processes, in the text format of Prometheus. @module */
import type { Instrument } from "./instrument.ts";
import { instruments } from "./instruments.ts";
import type { InstrumentOptions, Series } from "./series.ts";

/** Content type of the text format. */
export const PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** One value of a metric. */
export interface Sample {
  /** Part of the name after that of the metric, e.g. `_count`. */
  readonly suffix: string;
  /** Labels. */
  readonly labels: Readonly<Record<string, string>>;
  /** Value. */
  readonly value: number;
}

/** A metric with its values, as Prometheus groups them. It can be sent as JSON. */
export interface MetricFamily {
  /** Name, without the suffixes of its values. */
  readonly name: string;
  /** Kind. */
  readonly type: "counter" | "histogram" | "gauge";
  /** Description in one line. */
  readonly help: string;
  /** Values. */
  readonly samples: readonly Sample[];
}

/** Translates a name of OpenTelemetry: `rpc.method` into `rpc_method`. */
const translated = (name: string) => name.replace(/[^a-zA-Z0-9_]/g, "_");

/** Name of a metric: with its unit, and with `_total` for a counter, as OpenTelemetry's exporters do. */
function nameOf({ name, unit, kind }: InstrumentOptions): string {
  const withUnit = unit === "s"
    ? `${translated(name)}_seconds`
    : translated(name);
  return kind === "counter" ? `${withUnit}_total` : withUnit;
}

function labelsOf(series: Series): Record<string, string> {
  const entries = Object.entries(series.attributes);
  return Object.fromEntries(
    entries.map(([name, value]) => [translated(name), value]),
  );
}

function histogramSamples(series: Series, bounds: readonly number[]): Sample[] {
  const labels = labelsOf(series);
  let total = 0;
  const buckets = Array.from(series.counts, (count, at) => {
    total += count;
    const le = at < bounds.length ? `${bounds[at]}` : "+Inf";
    return { suffix: "_bucket", labels: { ...labels, le }, value: total };
  });
  return [
    ...buckets,
    { suffix: "_sum", labels, value: series.sum },
    { suffix: "_count", labels, value: total },
  ];
}

function familyOf(instrument: Instrument): MetricFamily {
  const { options } = instrument;
  const { kind: type, description: help, buckets = [] } = options;
  const samples = Array.from(instrument.series()).flatMap((series) =>
    type === "histogram"
      ? histogramSamples(series, buckets)
      : [{ suffix: "", labels: labelsOf(series), value: series.sum }]
  );
  return { name: nameOf(options), type, help, samples };
}

/** Returns the metrics of this process that have values. */
export function metricFamilies(): MetricFamily[] {
  return Object.values(instruments).map(familyOf)
    .filter(({ samples }) => samples.length > 0);
}

/** Joins the metrics of several processes; each of them gets the labels that are given with them. */
export function joinFamilies(
  processes: readonly (readonly [
    labels: Readonly<Record<string, string>>,
    families: readonly MetricFamily[],
  ])[],
): MetricFamily[] {
  const labelled = processes.flatMap(([labels, families]) =>
    families.map((family) => ({
      ...family,
      samples: family.samples.map((sample) => ({
        ...sample,
        labels: { ...labels, ...sample.labels },
      })),
    }))
  );
  const byName = Map.groupBy(labelled, ({ name }) => name);
  return [...byName.values()].flatMap(([first, ...others]) =>
    first
      ? [{
        ...first,
        samples: [first, ...others].flatMap(({ samples }) => samples),
      }]
      : []
  );
}

const escapeHelp = (text: string) =>
  text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
const escapeLabel = (text: string) => escapeHelp(text).replaceAll('"', '\\"');

function lineOf(name: string, { suffix, labels, value }: Sample): string {
  const texts = Object.entries(labels).map(([label, text]) =>
    `${label}="${escapeLabel(text)}"`
  );
  const braces = texts.length > 0 ? `{${texts.join(",")}}` : "";
  return `${name}${suffix}${braces} ${value}\n`;
}

/** Formats metrics as text. */
export function prometheusText(families: readonly MetricFamily[]): string {
  return families.map(({ name, type, help, samples }) =>
    [
      `# HELP ${name} ${escapeHelp(help)}\n`,
      `# TYPE ${name} ${type}\n`,
      ...samples.map((sample) => lineOf(name, sample)),
    ].join("")
  ).join("");
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const SUFFIX = /^[a-z_]*$/;

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null;

function isSample(value: unknown): value is Sample {
  if (!isRecord(value)) return false;
  const { suffix, labels, value: number } = value;
  return typeof suffix === "string" && SUFFIX.test(suffix) &&
    typeof number === "number" && isRecord(labels) &&
    Object.entries(labels).every(([name, text]) =>
      NAME.test(name) && typeof text === "string"
    );
}

/** True for a metric that can be formatted: those of another process are checked. */
export function isMetricFamily(value: unknown): value is MetricFamily {
  if (!isRecord(value)) return false;
  const { name, type, help, samples } = value;
  return typeof name === "string" && NAME.test(name) &&
    ["counter", "histogram", "gauge"].includes(`${type}`) &&
    typeof help === "string" && Array.isArray(samples) &&
    samples.every(isSample);
}

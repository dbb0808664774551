/** Metrics of all workers of a launcher, which one request to its health port returns. @module */
import { logger } from "../../logging.ts";
import {
  isMetricFamily,
  joinFamilies,
  type MetricFamily,
} from "../../telemetry/prometheus.ts";

/** Milliseconds in which a worker has to return its metrics. */
const TIMEOUT_MS = 2_000;

/** Worker whose metrics are read. */
interface MeasuredWorker {
  readonly worker: number;
  readonly metricsUrl: string | undefined;
}

/** Joins the metrics of the workers, with the label `worker`; `warren_worker_up` is 0 for a worker that returns none. */
export async function workerMetrics(
  workers: readonly MeasuredWorker[],
): Promise<MetricFamily[]> {
  const all = await Promise.all(workers.map(async (each) => {
    const labels = { worker: `${each.worker}` };
    const families = await metricsOf(each);
    return [labels, [up(families !== undefined), ...families ?? []]] as const;
  }));
  return joinFamilies(all);
}

const up = (isUp: boolean): MetricFamily => ({
  name: "warren_worker_up",
  type: "gauge",
  help: "1 if the worker serves and returns its metrics, else 0.",
  samples: [{ suffix: "", labels: {}, value: isUp ? 1 : 0 }],
});

async function metricsOf(
  { worker, metricsUrl }: MeasuredWorker,
): Promise<readonly MetricFamily[] | undefined> {
  if (metricsUrl === undefined) return undefined;
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const response = await fetch(`${metricsUrl}/metrics.json`, { signal });
    const { families }: { families: unknown } = await response.json();
    if (Array.isArray(families) && families.every(isMetricFamily)) {
      return families;
    }
    throw new Error("the answer has no metrics");
  } catch (error) {
    const text = "The metrics of worker {worker} cannot be read: {error}";
    logger("service").warn(text, { worker, error }, `${worker}`);
    return undefined;
  }
}

/** Span and duration of each run of a periodic task. @module */
import { attribute } from "../../telemetry/conventions.ts";
import { instruments } from "../../telemetry/instruments.ts";
import {
  errorType,
  type SpanOptions,
  startSpan,
} from "../../telemetry/tracing.ts";
import {
  type AroundRun,
  aroundRuns,
  type TaskInterceptor,
  type TaskRun,
} from "./task_interceptors.ts";

/** Names of a run. */
type RunNames = Pick<TaskRun, "topic" | "host" | "task">;

/** Span of a run, which begins a trace of its own. */
const runSpan = ({ topic, host, task }: RunNames): SpanOptions => ({
  name: `${topic}/${task}`,
  kind: "internal",
  place: "none", // timers keep the trace in which the service was started
  attributes: {
    [attribute.topic]: topic,
    [attribute.host]: host,
    [attribute.task]: task,
  },
});

/** Records the runs of the tasks of a topic on a host, with the interceptors around each run. */
export function recordRuns(
  interceptors: readonly TaskInterceptor[] | undefined,
  place: Pick<TaskRun, "topic" | "host">,
): AroundRun {
  const inner = aroundRuns(interceptors, place) ??
    (async (_run, work) => await work());
  return async (run, work) => {
    const { task } = run;
    const span = startSpan(runSpan, { ...place, task });
    const startedAt = performance.now();
    let failure = "";
    try {
      await (span ? span.run(() => inner(run, work)) : inner(run, work));
    } catch (error) {
      failure = errorType(error);
      span?.fail(error);
      throw error;
    } finally {
      const seconds = (performance.now() - startedAt) / 1_000;
      instruments.taskDuration.record(seconds, [place.topic, task, failure]);
      span?.end();
    }
  };
}

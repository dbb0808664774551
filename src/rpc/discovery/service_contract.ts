/** What services say of themselves, and what they can be asked: both ends on one page. @module */
import { z } from "npm:zod@^4.6.7";
import type { Contract, Procedure } from "../../contract/types.ts";
import type {
  ServiceInfo,
  ServiceKey,
  ServiceRecord,
  ServiceReport,
  ServiceStats,
} from "./service_report.ts";

/** Milliseconds, or a number of things. */
const amount = z.number().nonnegative();
/** What an older service does not count. */
const newer = amount.default(0);
const words = z.string().max(255);

/** Fields of a newer service are not kept. */
const reportSchema: z.ZodType<ServiceReport> = z.object({
  id: words.min(1),
  host: words,
  topic: words,
  binary: words,
  version: words,
  reportCount: amount,
  zone: words.optional(),
  worker: amount.optional(),
  // A newer service may have more states; it is there, whatever it calls it.
  state: z.enum(["starting", "up", "stopping", "stopped", "removed"])
    .catch("up"),
  interval: amount,
  startedAt: z.number(),
});

const procedureSchema = z.object({
  args: z.looseObject({}).optional(),
  result: z.looseObject({}).optional(),
  yields: z.looseObject({}).optional(),
  since: words,
  delivery: z.enum(["at-least-once", "at-most-once"]).catch("at-least-once"),
});

const infoSchema: z.ZodType<ServiceInfo> = z.object({
  process: z.object({ pid: amount, runtime: words }),
  contracts: z.array(z.object({
    topic: words,
    version: words,
    namespace: words.optional(),
    procedures: z.record(z.string(), procedureSchema),
  })),
  consumers: z.array(z.string()),
  concurrency: amount,
  prefetch: amount,
});

const taskSchema = z.object({
  name: z.string(),
  runs: amount,
  failures: amount,
  running: z.boolean(),
  lastRun: z.number().optional(),
  nextRun: z.number().optional(),
  duration: amount.optional(),
  lastError: z.string().optional(),
});

/** Counters as they are sent: two have other names there than in {@linkcode ServiceStats}. */
const statsSchema: z.ZodType<SentStats> = z.object({
  handled: amount,
  failed: amount,
  refused: amount,
  dropped: amount,
  redelivered: amount,
  interrupted: newer,
  repeated: amount,
  retried: amount,
  dead: amount,
  fenced: newer,
  cut: newer,
  blocked: newer,
  inHand: amount,
  longRunning: z.object({
    count: amount,
    slots: amount,
    handlers: z.array(
      z.object({ procedure: z.string(), request: z.string(), ms: amount }),
    ),
  }).default({ count: 0, slots: 0, handlers: [] }),
  latency: z.object({
    p50: amount,
    p90: amount,
    p99: amount,
    max: amount,
  }),
  tasks: z.array(taskSchema),
});

/** Counters of a service as they are sent. */
export type SentStats = Omit<ServiceStats, "evicted" | "active"> & {
  readonly cut: number;
  readonly inHand: number;
};

/** The form in which counters are sent. */
export function sentStats(
  { evicted, active, ...stats }: ServiceStats,
): SentStats {
  return { ...stats, cut: evicted, inHand: active };
}

function receivedStats({ cut, inHand, ...stats }: SentStats): ServiceStats {
  return { ...stats, evicted: cut, active: inHand };
}

/** What a service answers: a report for each of its topics, and what was asked for. */
export interface ServiceAnswer {
  /** Those of its topics that were asked for. */
  readonly reports: readonly ServiceReport[];
  /** To `info`. */
  readonly info?: ServiceInfo | undefined;
  /** To `stats`. */
  readonly stats?: ServiceStats | undefined;
}

/**
 * Who is meant by a question.
 * @category Fleet
 */
export interface ServiceFilter {
  /** Only who serves it. */
  readonly topic?: string | undefined;
  /** Only there. */
  readonly host?: string | undefined;
}

/** An answer as it is sent. */
export type SentAnswer = Omit<ServiceAnswer, "stats"> & {
  readonly stats?: SentStats | undefined;
};

/** Checks an answer, as it is sent. */
const answerSchema: z.ZodType<SentAnswer> = z.looseObject({
  reports: z.array(reportSchema),
  info: infoSchema.optional(),
  stats: statsSchema.optional(),
});

const reportsSchema = z.looseObject({ reports: z.array(z.unknown()) });

/** The reports in what came: those that can be read. */
export function reportsIn(value: unknown): readonly ServiceReport[] {
  const { reports = [] } = reportsSchema.safeParse(value).data ?? {};
  return reports.map((report) => reportSchema.safeParse(report).data)
    .filter((report) => report !== undefined);
}

/** A record that was kept; undefined where it cannot be read. */
export function recordIn(value: unknown): ServiceRecord | undefined {
  const { updatedAt } = Object(value);
  const report = reportSchema.safeParse(value).data;
  return report && typeof updatedAt === "number"
    ? { ...report, updatedAt }
    : undefined;
}

/** What is in an answer that came: what cannot be read, e.g. of a newer service, is left out. */
export function answerIn(value: unknown): ServiceAnswer {
  const { info, stats } = Object(value);
  return {
    reports: reportsIn(value),
    info: infoSchema.safeParse(info).data,
    stats: statsSchema.transform(receivedStats).safeParse(stats).data,
  };
}

const filterSchema: z.ZodType<ServiceFilter, object> = z.looseObject({
  topic: words.optional(),
  host: words.optional(),
});

/**
 * What can be asked.
 * @category Fleet
 */
export type ServiceQuery = "ping" | "info" | "stats";

const serviceQuery = { args: filterSchema, result: answerSchema };

/** What every service answers, whatever its handlers do. It is asked by a fanout: nobody knows who is there. */
export const registryContract: Contract<
  Readonly<Record<ServiceQuery, Procedure>>
> = {
  topic: "warren.services",
  version: "1.0",
  procedures: { ping: serviceQuery, info: serviceQuery, stats: serviceQuery },
};

/** Where services report: a fanout to whoever watches them, which are few. */
export const REPORTS = { topic: "warren.reports", version: "1.0" } as const;
/** The procedure of a report. */
export const REPORT = "report";

/** True if a report is of a service that is meant. */
export function matchesFilter(
  { topic, host }: ServiceFilter,
  report: Pick<ServiceReport, "topic" | "host">,
): boolean {
  return (topic === undefined || topic === report.topic) &&
    (host === undefined || host === report.host);
}

/** What names a service over all its runs, as one text. */
export function serviceKey(
  { host, topic, binary, worker }: ServiceKey,
): string {
  return JSON.stringify([host, topic, binary, worker ?? 0]);
}

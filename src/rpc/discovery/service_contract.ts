/** Messages of service discovery: reports, queries and replies, with their schemas for both ends. @module */
import { z } from "npm:zod@^4.6.7";
import type { Contract, Procedure } from "../../contract/types.ts";
import type {
  ServiceInfo,
  ServiceKey,
  ServiceRecord,
  ServiceReport,
  ServiceStats,
} from "./service_report.ts";

/** Schema of milliseconds, or of a count. */
const amount = z.number().nonnegative();
/** Schema of a count that older services do not send. */
const addedLater = amount.default(0);
/** Schema of a name or a version. */
const shortText = z.string().max(255);

/** Schema of a report. Fields that only newer services send are dropped. */
const reportSchema: z.ZodType<ServiceReport> = z.object({
  id: shortText.min(1),
  host: shortText,
  topic: shortText,
  binary: shortText,
  version: shortText,
  reportCount: amount,
  zone: shortText.optional(),
  cell: shortText.optional(),
  worker: amount.optional(),
  // A newer service may send a state that is unknown here; every such state counts as running.
  state: z.enum(["starting", "up", "stopping", "stopped", "removed"])
    .catch("up"),
  interval: amount,
  startedAt: z.number(),
});

const procedureSchema = z.object({
  args: z.looseObject({}).optional(),
  result: z.looseObject({}).optional(),
  yields: z.looseObject({}).optional(),
  since: shortText,
  delivery: z.enum(["at-least-once", "at-most-once"]).catch("at-least-once"),
});

const infoSchema: z.ZodType<ServiceInfo> = z.object({
  process: z.object({ pid: amount, runtime: shortText }),
  contracts: z.array(z.object({
    topic: shortText,
    version: shortText,
    namespace: shortText.optional(),
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

/** Schema of counters as they are sent. */
const statsSchema: z.ZodType<SentStats> = z.object({
  handled: amount,
  failed: amount,
  refused: amount,
  dropped: amount,
  redelivered: amount,
  interrupted: addedLater,
  repeated: amount,
  retried: amount,
  dead: amount,
  fenced: addedLater,
  cut: addedLater,
  blocked: addedLater,
  inHand: amount,
  paused: z.array(shortText).default([]),
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

/** Counters of a service as they are sent: two have other names than in {@linkcode ServiceStats}. */
export type SentStats = Omit<ServiceStats, "evicted" | "active"> & {
  readonly cut: number;
  readonly inHand: number;
};

/** Encodes counters. */
export function sentStats(
  { evicted, active, ...stats }: ServiceStats,
): SentStats {
  return { ...stats, cut: evicted, inHand: active };
}

function receivedStats({ cut, inHand, ...stats }: SentStats): ServiceStats {
  return { ...stats, evicted: cut, active: inHand };
}

/** Reply of a service: a report for each of its topics, and the details that were queried. */
export interface ServiceAnswer {
  /** Reports for the topics that match the filter. */
  readonly reports: readonly ServiceReport[];
  /** Reply to `info`. */
  readonly info?: ServiceInfo | undefined;
  /** Reply to `stats`. */
  readonly stats?: ServiceStats | undefined;
}

/**
 * Filter of a query for services.
 * @category Fleet
 */
export interface ServiceFilter {
  /** Only services of this topic. */
  readonly topic?: string | undefined;
  /** Only services of this host. */
  readonly host?: string | undefined;
}

/** Encoded reply of a service. */
export type SentAnswer = Omit<ServiceAnswer, "stats"> & {
  readonly stats?: SentStats | undefined;
};

/** Schema of an encoded reply. */
const answerSchema: z.ZodType<SentAnswer> = z.looseObject({
  reports: z.array(reportSchema),
  info: infoSchema.optional(),
  stats: statsSchema.optional(),
});

const reportsSchema = z.looseObject({ reports: z.array(z.unknown()) });

/** Decodes the reports of a received value; reports that cannot be decoded are omitted. */
export function reportsIn(value: unknown): readonly ServiceReport[] {
  const { reports = [] } = reportsSchema.safeParse(value).data ?? {};
  return reports.map((report) => reportSchema.safeParse(report).data)
    .filter((report) => report !== undefined);
}

/** Decodes a stored record; undefined if it cannot be decoded. */
export function recordIn(value: unknown): ServiceRecord | undefined {
  const { updatedAt } = Object(value);
  const report = reportSchema.safeParse(value).data;
  return report && typeof updatedAt === "number"
    ? { ...report, updatedAt }
    : undefined;
}

/** Decodes a received reply; members that cannot be decoded, e.g. of a newer service, are omitted. */
export function answerIn(value: unknown): ServiceAnswer {
  const { info, stats } = Object(value);
  return {
    reports: reportsIn(value),
    info: infoSchema.safeParse(info).data,
    stats: statsSchema.transform(receivedStats).safeParse(stats).data,
  };
}

const filterSchema: z.ZodType<ServiceFilter, object> = z.looseObject({
  topic: shortText.optional(),
  host: shortText.optional(),
});

/**
 * Query for services: `ping` for their reports only, `info` and `stats` for details.
 * @category Fleet
 */
export type ServiceQuery = "ping" | "info" | "stats";

const serviceQuery = { args: filterSchema, result: answerSchema };

/**
 * Contract of queries that every service replies to, even while all its handlers are busy. A fanout sends them, because the
 * sender does not know which services run.
 */
export const registryContract: Contract<
  Readonly<Record<ServiceQuery, Procedure>>
> = {
  topic: "warren.services",
  version: "1.0",
  procedures: { ping: serviceQuery, info: serviceQuery, stats: serviceQuery },
};

/** Topic of reports: a fanout to the processes that watch services. */
export const REPORTS = { topic: "warren.reports", version: "1.0" } as const;
/** Procedure of a report. */
export const REPORT = "report";

/** True if a report is of a service that the filter matches. */
export function matchesFilter(
  { topic, host }: ServiceFilter,
  report: Pick<ServiceReport, "topic" | "host">,
): boolean {
  return (topic === undefined || topic === report.topic) &&
    (host === undefined || host === report.host);
}

/** Returns the key of a service as one string; restarts do not change it. */
export function serviceKey(
  { host, topic, binary, worker }: ServiceKey,
): string {
  return JSON.stringify([host, topic, binary, worker ?? 0]);
}

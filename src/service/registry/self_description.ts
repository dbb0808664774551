/** Builds the description of a service: identity, topics, contracts as JSON Schema, and periodic tasks. @module */
import { newId } from "../../ids.ts";
import type {
  ContractInfo,
  ProcedureInfo,
  ServiceKey,
  ServiceReport,
  TaskInfo,
} from "../../rpc/discovery/service_report.ts";
import type { Contract, Procedure } from "../../contract/types.ts";
import { workerNumber } from "../../config/worker_role.ts";
import type { Schema } from "../../contract/schema.ts";
import { parseVersion } from "../../contract/version.ts";
import { redactText } from "../../redaction.ts";
import { oneLine, textOf } from "../../text.ts";
import type { TaskState } from "../periodic/task_runner.ts";

/** Extension of Standard Schema by libraries that can convert to JSON Schema: zod and arktype can, valibot cannot. */
interface JsonSchemaSource {
  readonly jsonSchema?: Readonly<
    Record<"input" | "output", (options: { target: string }) => object>
  >;
}

/**
 * Converts a schema to JSON Schema. `sides` are tried in order, because a schema with a transformation may have a JSON
 * Schema for one side only. Returns `{}` if there is no conversion, and undefined without a schema.
 */
function jsonSchemaOf(
  schema: Schema | undefined,
  ...sides: readonly ("output" | "input")[]
): object | undefined {
  if (!schema) return undefined;
  const { jsonSchema } = schema["~standard"] as JsonSchemaSource;
  for (const side of sides) {
    try {
      const converted = jsonSchema?.[side]({ target: "draft-2020-12" });
      if (converted) return JSON.parse(JSON.stringify(converted));
    } catch {
      // JSON Schema cannot describe this side of the schema, for example a `Date`.
    }
  }
  return {};
}

function procedureInfo(procedure: Procedure, version: string): ProcedureInfo {
  const { since = `${parseVersion(version)?.major}.0` } = procedure;
  return {
    args: jsonSchemaOf(procedure.args, "input"),
    result: jsonSchemaOf(procedure.result, "output", "input"),
    yields: jsonSchemaOf(procedure.yields, "output", "input"),
    since,
    delivery: procedure.delivery ?? "at-least-once",
  };
}

/** Describes a contract. */
export function contractInfo(contract: Contract): ContractInfo {
  const { topic, version, namespace, procedures } = contract;
  const entries = Object.entries(procedures).map(([name, procedure]) =>
    [name, procedureInfo(procedure, version)] as const
  );
  return { topic, version, namespace, procedures: Object.fromEntries(entries) };
}

/** Describes a periodic task. Its last error becomes one line without secrets. */
export function taskInfo({ lastError, ...state }: TaskState): TaskInfo {
  return {
    ...state,
    nextRun: Number.isFinite(state.nextRun) ? state.nextRun : undefined,
    lastError: lastError === undefined
      ? undefined
      : oneLine(redactText(textOf(lastError))),
  };
}

/** Members of a report that never change during a run. */
export type Identity = Omit<
  ServiceReport,
  "topic" | "version" | "reportCount" | "state"
>;

/** Topic of a service, with its version. */
export type ServedTopic = Pick<ServiceReport, "topic" | "version">;

/** Object with a contract, such as a manager. */
interface ContractHolder {
  readonly contract: Contract;
}

/** Members of an identity that options set. */
interface IdentityOptions {
  readonly binary?: string | undefined;
  readonly zone?: string | undefined;
  readonly cell?: string | undefined;
  readonly reportInterval?: number | undefined;
}

/** Default of milliseconds between two reports (Nova: `report_interval`). */
const REPORT_INTERVAL_MS = 10_000;

/** Minimum milliseconds between the start times of two services of one process. */
const MIN_START_GAP_MS = 0.001;
/** Start time of the service that this process started last. */
let lastStartedAt = -Infinity;

/**
 * Returns the current time in milliseconds since 1970, later than every earlier start time of this process, so that the
 * later run wins in a store.
 */
function nextStartTime(): number {
  return lastStartedAt = Math.max(Date.now(), lastStartedAt + MIN_START_GAP_MS);
}

/** Creates the identity of a service that starts now. */
export function identityOf(
  managers: readonly ContractHolder[],
  host: string,
  { binary, zone, cell, reportInterval: interval = REPORT_INTERVAL_MS }:
    IdentityOptions,
): Identity {
  return {
    id: newId(),
    host,
    binary: binary ?? managers[0]?.contract.topic ?? "",
    zone,
    cell,
    worker: workerNumber(),
    interval,
    startedAt: nextStartTime(),
  };
}

/** Lists the topics of a service. The version is that of the program, or else that of the first contract of the topic. */
export function servedTopics(
  managers: readonly ContractHolder[],
  version: string | undefined,
): readonly ServedTopic[] {
  const topics = new Map<string, string>();
  for (const { contract } of managers) {
    if (topics.has(contract.topic)) continue;
    topics.set(contract.topic, version ?? contract.version);
  }
  return Array.from(topics, ([topic, version]) => ({ topic, version }));
}

/** Returns the keys of the records of a service, one for each topic. */
export function keysOf(
  { host, binary, worker }: Identity,
  topics: readonly ServedTopic[],
): readonly ServiceKey[] {
  return topics.map(({ topic }) => ({ host, topic, binary, worker }));
}

/** What a service tells of its contracts and its tasks. @module */
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

/** What Standard Schema libraries add that can tell JSON Schema (zod and arktype do; valibot does not). */
interface JsonSchemaSource {
  readonly jsonSchema?: Readonly<
    Record<"input" | "output", (options: { target: string }) => object>
  >;
}

function jsonSchemaOf(
  schema: Schema | undefined,
  ...sides: readonly ("output" | "input")[]
): object | undefined {
  if (!schema) return undefined;
  const { jsonSchema } = schema["~standard"] as JsonSchemaSource;
  for (const side of sides) {
    try {
      const made = jsonSchema?.[side]({ target: "draft-2020-12" });
      if (made) return JSON.parse(JSON.stringify(made));
    } catch {
      // It has what JSON Schema has no word for, e.g. a `Date`.
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

/** A contract, as it is told. */
export function contractInfo(contract: Contract): ContractInfo {
  const { topic, version, namespace, procedures } = contract;
  const entries = Object.entries(procedures).map(([name, procedure]) =>
    [name, procedureInfo(procedure, version)] as const
  );
  return { topic, version, namespace, procedures: Object.fromEntries(entries) };
}

/** A periodic task, as it is told. */
export function taskInfo({ lastError, ...state }: TaskState): TaskInfo {
  return {
    ...state,
    nextRun: Number.isFinite(state.nextRun) ? state.nextRun : undefined,
    lastError: lastError === undefined
      ? undefined
      : oneLine(redactText(textOf(lastError))),
  };
}

/** What a report says of a service at all times. */
export type Identity = Omit<
  ServiceReport,
  "topic" | "version" | "reportCount" | "state"
>;

/** A topic of a service, and in which version it is served. */
export type ServedTopic = Pick<ServiceReport, "topic" | "version">;

/** Something that serves a contract. */
interface ContractHolder {
  readonly contract: Contract;
}

/** The parts of an identity that the user may give. */
interface IdentityOptions {
  readonly binary?: string | undefined;
  readonly zone?: string | undefined;
  readonly reportInterval?: number | undefined;
}

/** Milliseconds between two reports, unless said otherwise (Nova: `report_interval`). */
const REPORT_INTERVAL_MS = 10_000;

/** Milliseconds that lie between two runs of one process at least, however soon the second one starts. */
const MIN_START_GAP_MS = 0.001;
let lastStartedAt = -Infinity;

/** Epoch milliseconds by the wall clock of now. A run is always later than an earlier one of this process. */
function nextStartTime(): number {
  return lastStartedAt = Math.max(Date.now(), lastStartedAt + MIN_START_GAP_MS);
}

/** Of a service that starts now. */
export function identityOf(
  managers: readonly ContractHolder[],
  host: string,
  { binary, zone, reportInterval: interval = REPORT_INTERVAL_MS }:
    IdentityOptions,
): Identity {
  return {
    id: newId(),
    host,
    binary: binary ?? managers[0]?.contract.topic ?? "",
    zone,
    worker: workerNumber(),
    interval,
    startedAt: nextStartTime(),
  };
}

/** The topics of a service, each with the version of the program, or that of its first contract. */
export function topicsOf(
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

/** What names its records. */
export function keysOf(
  { host, binary, worker }: Identity,
  topics: readonly ServedTopic[],
): readonly ServiceKey[] {
  return topics.map(({ topic }) => ({ host, topic, binary, worker }));
}

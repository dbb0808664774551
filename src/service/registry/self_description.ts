/** What a service tells of its contracts and its tasks. @module */
import type { Contract, Procedure } from "../../contract/types.ts";
import type { Schema } from "../../contract/schema.ts";
import type {
  ContractInfo,
  ProcedureInfo,
  TaskInfo,
} from "../../rpc/discovery/service_report.ts";
import { parseVersion } from "../../names.ts";
import { maskedText } from "../../redaction.ts";
import { oneLine, textOf } from "../../text.ts";
import type { TaskState } from "../periodic/periodic_task.ts";

/** What Standard Schema libraries add that can tell JSON Schema (zod and arktype do; valibot does not). */
interface Describing {
  readonly jsonSchema?: Readonly<
    Record<"input" | "output", (options: { target: string }) => object>
  >;
}

function described(
  schema: Schema | undefined,
  ...sides: readonly ("output" | "input")[]
): object | undefined {
  if (!schema) return undefined;
  const { jsonSchema } = schema["~standard"] as Describing;
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
    args: described(procedure.args, "input"),
    result: described(procedure.result, "output", "input"),
    yields: described(procedure.yields, "output", "input"),
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
      : oneLine(maskedText(textOf(lastError))),
  };
}

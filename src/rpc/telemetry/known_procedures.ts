/** Procedures that this process serves: the only names that telemetry takes over from requests, since peers may send any. @module */
import { OTHER } from "../../telemetry/conventions.ts";

/** Names of the procedures of all contracts that this process has served, by topic. */
const known = new Map<string, Set<string>>();

/** Registers a procedure that is served. */
export function registerProcedure(topic: string, procedure: string): void {
  const procedures = known.get(topic) ?? new Set();
  known.set(topic, procedures.add(procedure));
}

/** Returns the name of a procedure if this process serves it, else `_OTHER`. */
export const procedureLabel = (topic: string, procedure: string): string =>
  known.get(topic)?.has(procedure) ? procedure : OTHER;

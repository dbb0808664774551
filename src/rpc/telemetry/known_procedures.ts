/** Procedures that this process serves: the only names that telemetry takes over from requests, since peers may send any. @module */
import { OTHER } from "../../telemetry/conventions.ts";
import { methodName } from "./spans.ts";

/** Names of the procedures of all contracts that this process has served. */
const known = new Set<string>();

/** Registers a procedure that is served. */
export function registerProcedure(topic: string, procedure: string): void {
  known.add(methodName(topic, procedure));
}

/** Returns the name of a procedure if this process serves it, else `_OTHER`. */
export const procedureLabel = (topic: string, procedure: string): string =>
  known.has(methodName(topic, procedure)) ? procedure : OTHER;

/** Names that telemetry takes over from messages: few enough to be labels, since peers may send any. @module */
import { isOwnTopic } from "../../names.ts";
import { OTHER } from "../../telemetry/conventions.ts";
import { instruments } from "../../telemetry/instruments.ts";

/** Maximum number of event types of a topic that become labels, and of their characters. */
const MAX_EVENT_TYPES = 50;
const MAX_EVENT_TYPE_LENGTH = 100;
/** Incidents whose first one must be seen as an increase. */
const INCIDENTS = ["retried", "dead_lettered", "interrupted"];

/** Names of the procedures of all contracts that this process has served, by topic. */
const procedures = new Map<string, Set<string>>();
/** Types of the first events of each topic. */
const eventTypes = new Map<string, Set<string>>();

function namesIn(known: Map<string, Set<string>>, topic: string): Set<string> {
  const names = known.get(topic) ?? new Set();
  known.set(topic, names);
  return names;
}

/** Registers a procedure that is served. */
export function registerProcedure(topic: string, procedure: string): void {
  const names = namesIn(procedures, topic);
  if (names.has(procedure) || isOwnTopic(topic)) return;
  names.add(procedure);
  for (const incident of INCIDENTS) {
    instruments.incidents.prepare([topic, procedure, incident]);
  }
}

/** Returns the name of a procedure if this process serves it, else `_OTHER`. */
export const procedureLabel = (topic: string, procedure: string): string =>
  procedures.get(topic)?.has(procedure) ? procedure : OTHER;

/** Returns the type of an event if it is among the first types of its topic, else `_OTHER`. Topics are the program's own. */
export function eventLabel(topic: string, type: string): string {
  const types = namesIn(eventTypes, topic);
  if (types.has(type)) return type;
  const isRoom = types.size < MAX_EVENT_TYPES;
  if (!isRoom || type.length > MAX_EVENT_TYPE_LENGTH) return OTHER;
  types.add(type);
  return type;
}

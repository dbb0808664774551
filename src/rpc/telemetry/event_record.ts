/** Records what followed a failed attempt at an event: an event of its span, and an incident. @module */
import { OTHER, spanEvent } from "../../telemetry/conventions.ts";
import { instruments } from "../../telemetry/instruments.ts";
import type { HandledMessage } from "./handled_message.ts";

/** Outcome of an attempt at an event of a topic. */
export interface Outcome {
  /** Topic. */
  readonly topic: string;
  /** Type of the event, as a label. */
  readonly label: string;
  /** Outcome. */
  readonly outcome:
    | "again"
    | "retried"
    | "requeued"
    | "deadLettered"
    | "dropped";
}

const EVENTS = {
  again: spanEvent.retried,
  retried: spanEvent.retried,
  requeued: spanEvent.requeued,
  deadLettered: spanEvent.deadLettered,
  dropped: undefined,
} as const;

const INCIDENTS = {
  again: "retried",
  retried: "retried",
  requeued: undefined,
  deadLettered: "dead_lettered",
  dropped: "dropped",
} as const;

/** Records an outcome. */
export function recordOutcome(
  handled: HandledMessage,
  { topic, label, outcome }: Outcome,
): void {
  const [event, incident] = [EVENTS[outcome], INCIDENTS[outcome]];
  if (event) handled.event(event);
  if (incident) instruments.incidents.record(1, [topic, label, incident]);
}

/** Records a message that a listener of a topic refuses, since it is no event. */
export function recordRefused(topic: string): void {
  instruments.incidents.record(1, [topic, OTHER, "refused"]);
}

/** Priorities of notifications. @module */
import { InvalidValueError } from "../../errors.ts";
import { oneLine } from "../../logging.ts";

/**
 * Priority of a notification; each priority has a queue of its own.
 * @category Events
 */
export type NotificationPriority =
  | "audit"
  | "debug"
  | "info"
  | "warn"
  | "error"
  | "critical"
  | "sample";

/** All priorities. */
export const priorities: readonly NotificationPriority[] = [
  "audit",
  "debug",
  "info",
  "warn",
  "error",
  "critical",
  "sample",
];

/**
 * Checks a priority.
 *
 * @throws {InvalidValueError} the priority is unknown.
 */
export function checkPriority(
  priority: NotificationPriority,
): NotificationPriority {
  if (priorities.includes(priority)) return priority;
  throw new InvalidValueError(
    `Invalid option priority ${oneLine(priority, 40)}: give one of ${
      priorities.join(", ")
    }`,
    {
      data: { path: "priority" },
    },
  );
}

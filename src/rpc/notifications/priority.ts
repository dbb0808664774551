/** How urgent an event is. @module */
import { InvalidValueError } from "../../errors.ts";
import { oneLine } from "../../logging.ts";

/**
 * How urgent an event is; each has a queue of its own.
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

/** All of them. */
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
 * @throws {InvalidValueError}
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

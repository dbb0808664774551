/** Result of `diagnose`: findings on why a call fails or waits, the reasons first. @module */
import type { QueueLook } from "../queues/queue_list.ts";
import type { ServiceStatus } from "../../rpc/discovery/service_report.ts";

/**
 * Stable code of a finding.
 *
 * - `DISCONNECTED`, `BLOCKED`: this process has no connection, or the broker accepts no messages.
 * - `QUEUE_UNAVAILABLE`: the broker does not tell the state of the queue, e.g. because its node is down.
 * - `NO_QUEUE`: no worker has ever served the target. `NO_WORKER`: nobody consumes its queue.
 * - `NO_ANSWER`: workers consume, and do not answer queries: their event loops are blocked, or their processes are stopped.
 * - `PAUSED`: an operator has paused the queue.
 * - `UNSUPPORTED_VERSION`, `NO_SUCH_PROCEDURE`: no worker serves this version, or this procedure.
 * - `FULL`: all places of the workers' concurrency are taken. `LONG_RUNNING`: handlers run for long.
 * - `EVENT_LOOP_BLOCKED`: event loops of workers have stood still for a second or longer since their start.
 * - `BACKLOG`: messages wait in the queue. `QUARANTINED`: requests that workers did not finish wait in quarantine.
 * - `RETRYING`: casts wait for their next attempt. `DEAD_LETTERS`: casts are not tried again.
 * @category Operations
 */
export type FindingCode =
  | "DISCONNECTED"
  | "BLOCKED"
  | "QUEUE_UNAVAILABLE"
  | "NO_QUEUE"
  | "NO_WORKER"
  | "NO_ANSWER"
  | "PAUSED"
  | "UNSUPPORTED_VERSION"
  | "NO_SUCH_PROCEDURE"
  | "FULL"
  | "LONG_RUNNING"
  | "EVENT_LOOP_BLOCKED"
  | "BACKLOG"
  | "QUARANTINED"
  | "RETRYING"
  | "DEAD_LETTERS";

/**
 * One finding.
 * @category Operations
 */
export interface Finding {
  /** Stable code. */
  readonly code: FindingCode;
  /** `reason`: calls fail or wait because of it; `hint`: it may have to do with it. */
  readonly weight: "reason" | "hint";
  /** One or two sentences: what was found, and what to do. */
  readonly text: string;
  /** Figures of the text. */
  readonly data: Readonly<Record<string, unknown>>;
}

/**
 * Result of `diagnose`.
 * @category Operations
 */
export interface Diagnosis {
  /** Name of the queue of the target. */
  readonly queue: string;
  /** Findings, the reasons first. Empty if nothing was found that hinders calls. */
  readonly findings: readonly Finding[];
  /** State of the queue; undefined if there is none. */
  readonly state: QueueLook | undefined;
  /** Services of the target that answered. */
  readonly services: readonly ServiceStatus[];
}

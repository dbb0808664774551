/** Requests that are the same, and want their answers in different places. @module */
import { aside } from "../request/waiting_aside.ts";
import type { Heartbeats } from "../replies/heartbeats.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import type { ActiveRequest } from "../request/recent_requests.ts";
import type { ControlTargets } from "../control_targets.ts";

/** Parts that a wait needs. */
export interface SameRunParts {
  /** To be cancelled by. */
  readonly targets: ControlTargets;
  /** Shows the second caller that its call is being worked on. */
  readonly heartbeats: Heartbeats;
}

/**
 * Waits until the run of the first has ended, or turns out to be a stream, or nobody waits for the second any more; false if
 * the second has to go back meanwhile.
 */
export async function joinSameRun(
  { targets, heartbeats }: SameRunParts,
  second: IncomingRequest,
  first: ActiveRequest,
): Promise<boolean> {
  second.register(targets);
  heartbeats.begin(second);
  const wait = (signal: AbortSignal) => first.until(signal, true);
  const waited = await aside(second, second.signal, wait)
    .then(() => true, () => second.over);
  heartbeats.end(second);
  second.unregister();
  return waited;
}

/** Waits for the run of a request that came again; what has to go meanwhile goes back. */
export async function joinOtherRun(
  incoming: IncomingRequest,
  first: ActiveRequest,
  stopping: AbortSignal,
): Promise<void> {
  const wait = (signal: AbortSignal) => first.until(signal, false);
  await aside(incoming, stopping, wait).catch(() => incoming.giveBack());
}

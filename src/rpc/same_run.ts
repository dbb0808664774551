/** Requests that are the same, and want their answers in different places. @module */
import { within } from "../wait.ts";
import type { Beats } from "./beats.ts";
import type { Job } from "./job.ts";
import type { Running } from "./ledger.ts";
import type { RunningCalls } from "./running.ts";

/** Parts that a wait needs. */
export interface SameRunParts {
  /** To be cancelled by. */
  readonly running: RunningCalls;
  /** Shows the second caller that its call is being worked on. */
  readonly beats: Beats;
}

/** Waits until the run of the first has ended, or turns out to be a stream, or nobody waits for the second any more. */
export async function sameRun(
  { running, beats }: SameRunParts,
  second: Job,
  { job: first, ended }: Running,
): Promise<void> {
  const { promise: streams, resolve } = Promise.withResolvers<void>();
  const others = first.streams;
  first.streams = () => (others?.(), resolve());
  const wait = { deadline: Infinity, signal: second.signal };
  second.register(running);
  beats.begin(second);
  await within(Promise.race([ended, streams]), wait, () => undefined)
    .catch(() => {}); // nobody waits
  beats.end(second);
  second.unregister();
}

/** Periodic work without a timer of its own: it runs whenever deadlines of the process have passed. @module */

const followUps: (() => void)[] = [];

/** Calls `work` whenever deadlines have passed, for as long as the process lives. */
export function addFollowUp(work: () => void): void {
  followUps.push(work);
}

/** Runs the registered work, after deadlines have passed. */
export function runFollowUps(): void {
  for (const work of followUps) work();
}

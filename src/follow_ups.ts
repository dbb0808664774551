/** Work that needs no timer of its own: it is done whenever deadlines of the process have passed. @module */

const followers: (() => void)[] = [];

/** Calls `work` whenever deadlines have passed, for as long as the process lives. */
export function addFollowUp(work: () => void): void {
  followers.push(work);
}

/** Deadlines have passed. */
export function runFollowUps(): void {
  for (const work of followers) work();
}

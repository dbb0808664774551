/** Waiting for what may not end by itself, while a service stops. @module */
import { TimeoutError } from "../errors.ts";
import { log } from "../logging.ts";
import { within } from "./deadline.ts";

/** Waits for `work` until `deadline` (milliseconds of `performance.now()`) at most; what goes wrong is logged. */
export async function leave(
  what: string,
  work: () => unknown,
  deadline: number,
): Promise<void> {
  const late = () => new TimeoutError("it takes too long, and is left behind");
  try {
    await within(Promise.try(work), { deadline }, late);
  } catch (error) {
    log("service").error("{what} failed: {error}", {
      what,
      error,
    }, what);
  }
}

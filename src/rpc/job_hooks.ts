/** What the requests of one consumer ask of their server while their handlers run. @module */
import type { Queue } from "../bus/routes.ts";
import type { Wait } from "../bus/transport.ts";
import type { JobHooks } from "./job.ts";
import type { Responder } from "./responder.ts";

/** For requests of a queue; `ending` says until when the ledger is waited for. */
export function jobHooks(
  queue: Queue | undefined,
  responder: Responder,
  consumerTimeout: number,
  ending: Wait,
): JobHooks {
  return {
    queue,
    // What takes longer than the broker leaves a message unacknowledged is kept by the ledger instead.
    starting: (job, { maxDuration = 0 }) => {
      const { hold } = job;
      if (!hold || !queue || maxDuration < consumerTimeout) return undefined;
      return hold.keep(queue.name, job.message, ending)
        .then((mine) => mine ? job.keptElsewhere() : job.fence());
    },
    record: (job, transaction, result) =>
      responder.record(job, transaction, result),
  };
}

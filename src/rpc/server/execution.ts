/** What the requests of one consumer ask of their server while their handlers run. @module */
import { type QueueAddress, queueName } from "../../transport/address.ts";
import type { Deadline } from "../../transport/transport.ts";
import type { IncomingRequest, JobHooks } from "../request/incoming_request.ts";
import type { EventLoopMonitor } from "./event_loop_monitor.ts";
import type { Responder } from "../replies/responder.ts";

/** What takes part. */
export interface JobHookParts {
  /** Records. */
  readonly responder: Responder;
  /** Is told how long the event loop was kept. */
  readonly monitor: EventLoopMonitor<IncomingRequest>;
  /** Milliseconds that the broker leaves a message unacknowledged. */
  readonly consumerTimeout: number;
  /** Until when the ledger is waited for. */
  readonly ending: Deadline;
}

/** For requests of a queue. */
export function jobHooks(
  queue: QueueAddress | undefined,
  { responder, monitor, consumerTimeout, ending }: JobHookParts,
): JobHooks {
  return {
    queue,
    ran: (incoming, ms) => monitor.ran(incoming, ms),
    // What takes longer than the broker leaves a message unacknowledged is kept by the ledger instead.
    starting: (incoming, { maxDuration = 0 }) => {
      const { lease } = incoming;
      if (!lease || !queue || maxDuration < consumerTimeout) return undefined;
      return lease.keep(queueName(queue), incoming.message, ending)
        .then((mine) => mine ? incoming.keptElsewhere() : incoming.fence());
    },
    record: (incoming, transaction, result) =>
      responder.record(incoming, transaction, result),
    // A stream of Warren's ends with its reader, whose silence is noticed.
    patience: ({ request: { reply, warren }, procedure, arrived }) => {
      const { yields, maxDuration = 0 } = procedure ?? {};
      const ends = yields && warren !== undefined;
      const most = Math.max(consumerTimeout, maxDuration);
      return !reply || ends ? Infinity : arrived + most;
    },
    late: (incoming) => {
      const ms = Math.round(performance.now() - incoming.arrived);
      void responder.late(incoming, ms);
      incoming.end(`it has taken ${ms} ms, and its caller names no deadline`);
    },
  };
}

/** Call to all workers of a topic, whose replies are reported one by one. @module */
import { withDeadline } from "../../async/deadline.ts";
import type { Reply } from "../../wire/mod.ts";
import type { PendingReply } from "../inbox.ts";
import type { OutgoingRequest } from "./request_encoder.ts";
import type { CallResources } from "./pending_calls.ts";

/** Called with each reply, and the milliseconds since the request was sent. */
export type GatherListener = (reply: Reply, roundTrip: number) => void;

/** Marker for the deadline, at which the call ends without an error. */
const OVER = Symbol("over");

/** Sends a request to all workers of a topic. Resolves at the deadline, or at once if no worker has a queue. */
export async function scatterGather(
  { inbox, session, encoder, pendingCalls }: CallResources,
  outgoing: OutgoingRequest,
  receive: GatherListener,
): Promise<void> {
  const { id, limits: { deadline }, destination: { address } } = outgoing;
  await inbox.ready(deadline);
  const message = encoder.encode(outgoing);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  promise.catch(() => {}); // the promise may reject before it is awaited
  const sentAt = performance.now();
  const pending: PendingReply = {
    worker: undefined, // many workers reply
    receive: (reply) => {
      if (!reply.heartbeat) receive(reply, performance.now() - sentAt);
    },
    fail: reject,
    onUnroutable: () => resolve(), // no worker has a queue
  };
  pendingCalls.add(id, pending);
  try {
    const sent = session.send(address, message, deadline);
    await Promise.race([sent, promise]); // the connection may be disposed while the request still waits
    await withDeadline(promise, deadline, () => OVER);
  } catch (error) {
    if (error !== OVER) throw error;
  } finally {
    pendingCalls.remove(id);
  }
}

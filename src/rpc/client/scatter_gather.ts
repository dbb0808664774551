/** One call to all workers of a topic, and their replies as they come. @module */
import { withDeadline } from "../../async/deadline.ts";
import type { Reply } from "../../wire/mod.ts";
import type { PendingReply } from "../inbox.ts";
import type { OutgoingRequest } from "./request_encoder.ts";
import type { CallResources } from "./unary_call.ts";

/** Gets a reply, with the milliseconds since the request was sent. */
export type GatherListener = (reply: Reply, roundTrip: number) => void;

/** The time is over: no error. */
const OVER = Symbol("over");

/** Sends the request; resolves when the time is over, or at once where nobody is there to answer. */
export async function scatterGather(
  { inbox, session, encoder, pendingCalls }: CallResources,
  outgoing: OutgoingRequest,
  receive: GatherListener,
): Promise<void> {
  const { id, limits: { deadline }, destination: { address } } = outgoing;
  await inbox.ready(deadline);
  const message = encoder.encode(outgoing);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  promise.catch(() => {}); // it may fail before anybody awaits it
  const sentAt = performance.now();
  const pending: PendingReply = {
    worker: undefined, // there may be many
    receive: (reply) => {
      if (!reply.heartbeat) receive(reply, performance.now() - sentAt);
    },
    fail: reject,
    unrouted: () => resolve(), // nobody is there
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

/** One question to all who serve a fanout, and their answers as they come. @module */
import { withDeadline } from "../../async/deadline.ts";
import type { Reply } from "../../wire/mod.ts";
import type { CallLimits } from "./call_options.ts";
import {
  type CallerParts,
  encodeCall,
  type OutgoingRequest,
} from "./request_encoder.ts";
import type { Address } from "../../transport/address.ts";
import type { PendingReply } from "../inbox.ts";
import type { PendingCalls } from "./pending_calls.ts";

/** Gets an answer, with the milliseconds since the question was sent. */
export type GatherListener = (reply: Reply, roundTrip: number) => void;

/** The time is over: no error. */
const OVER = Symbol("over");

/** Asks; resolves when the time is over, or at once where nobody is there to answer. */
export async function scatterGather(
  parts: CallerParts,
  pendingCalls: PendingCalls,
  outgoing: OutgoingRequest,
  callLimits: CallLimits,
  receive: GatherListener,
): Promise<void> {
  await parts.inbox.ready(callLimits.deadline);
  const address: Address = { kind: "fanout", topic: outgoing.target.topic };
  const message = encodeCall(parts, outgoing, callLimits, {
    timeout: callLimits.timeout,
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  promise.catch(() => {}); // it may fail before anybody awaits it
  const began = performance.now();
  const pending: PendingReply = {
    worker: undefined, // there may be many
    receive: (reply) => {
      if (!reply.heartbeat) receive(reply, performance.now() - began);
    },
    fail: reject,
    unrouted: () => resolve(), // nobody is there
  };
  pendingCalls.add(outgoing.id, pending);
  try {
    const sent = parts.session.send(address, message, callLimits.deadline);
    await Promise.race([sent, promise]); // the connection may be disposed while the question still waits
    await withDeadline(promise, callLimits.deadline, () => OVER);
  } catch (error) {
    if (error !== OVER) throw error;
  } finally {
    pendingCalls.remove(outgoing.id);
  }
}

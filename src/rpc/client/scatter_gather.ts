/** One question to all who serve a fanout, and their answers as they come. @module */
import { within } from "../../async/deadline.ts";
import type { Reply } from "../../wire/rpc_message.ts";
import type { Bounds } from "./call_options.ts";
import { type Asked, type CallerParts, question } from "./request_encoder.ts";
import type { Pending } from "../inbox.ts";
import type { Waiting } from "./pending_calls.ts";

/** Gets an answer, with the milliseconds since the question was sent. */
export type Gather = (reply: Reply, roundTrip: number) => void;

/** The time is over: no error. */
const OVER = Symbol("over");

/** Asks; resolves when the time is over, or at once where nobody is there to answer. */
export async function gather(
  parts: CallerParts,
  waiting: Waiting,
  asked: Asked,
  bounds: Bounds,
  receive: Gather,
): Promise<void> {
  await parts.inbox.ready(bounds.wait);
  const route = parts.routes.fanout(asked.target.topic);
  const message = question(parts, asked, bounds, { timeout: bounds.timeout });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  promise.catch(() => {}); // it may fail before anybody awaits it
  const began = performance.now();
  const pending: Pending = {
    worker: undefined, // there may be many
    receive: (reply) => {
      if (!reply.beat) receive(reply, performance.now() - began);
    },
    fail: reject,
    unrouted: () => resolve(), // nobody is there
  };
  waiting.expect(asked.id, pending);
  try {
    const sent = parts.transport.post(route, message, bounds.wait);
    await Promise.race([sent, promise]); // the connection may be disposed while the question still waits
    await within(promise, bounds.wait, () => OVER);
  } catch (error) {
    if (error !== OVER) throw error;
  } finally {
    waiting.forget(asked.id);
  }
}

/** The beginning and the end of a stream on the caller's side. @module */
import { clearDeadline, setDeadline } from "../../async/timer_wheel.ts";
import { TimeoutError } from "../../errors.ts";
import { type Address, queueFor } from "../../transport/address.ts";
import type { AskParts } from "./unary_call.ts";
import { INITIAL_CREDIT } from "../streams/flow_control.ts";
import { StreamReceiver } from "../streams/stream_receiver.ts";
import type { CallLimits } from "./call_options.ts";
import { encodeCall, type OutgoingRequest } from "./request_encoder.ts";
import { GapRecovery } from "../streams/gap_recovery.ts";

/** A stream that has been asked for. */
export interface StreamCall {
  /** What comes. */
  readonly receiver: StreamReceiver;
  /** Waits for no more; `cancel` tells the worker so. */
  close(cancel: boolean): void;
}

/** Ends a stream when nothing comes for too long while there is room for it, or its signal fires, whether somebody pulls or not. */
function watch(
  receiver: StreamReceiver,
  { deadline: { signal, at }, timeout }: CallLimits,
  what: string,
  cancel: () => void,
): Disposable {
  const end = (error: unknown, hasty: boolean) => {
    receiver.fail(error, hasty);
    cancel();
  };
  const text = `Nothing came from ${what} for ${Math.round(timeout)} ms`;
  const silent = () => {
    if (receiver.missing) receiver.lost();
    else end(new TimeoutError(text), false);
  };
  const aborted = () => end(signal?.reason, true);
  let expiry = setDeadline(at, silent);
  receiver.alive = () => {
    clearDeadline(expiry);
    // It may be the worker who waits.
    const until = receiver.full ? Infinity : performance.now() + timeout;
    expiry = setDeadline(until, silent);
  };
  signal?.addEventListener("abort", aborted);
  return {
    [Symbol.dispose]: () => {
      receiver.alive = () => {};
      clearDeadline(expiry);
      signal?.removeEventListener("abort", aborted);
    },
  };
}

/** Asks for what is missing, at once when the link is back, until disposed. */
function recover(
  { pendingCalls, watch }: AskParts,
  call: string,
  receiver: StreamReceiver,
  { timeout }: CallLimits,
): Disposable {
  const recovery = new GapRecovery(receiver, timeout, () => {
    const { worker, upcoming: sequence, run, granted: credit } = receiver;
    pendingCalls.resume(call, worker, { sequence, runId: run, credit });
  });
  receiver.rival = (inbox) => {
    if (inbox !== receiver.worker) pendingCalls.cancel(call, inbox);
    recovery.rival();
  };
  const watching = watch(({ type }) => {
    if (type === "connected") recovery.returned();
  });
  return {
    [Symbol.dispose]: () => {
      watching[Symbol.dispose]();
      recovery[Symbol.dispose]();
    },
  };
}

/** Asks for a stream. */
export async function openStreamCall(
  parts: AskParts,
  outgoing: OutgoingRequest,
  address: Address,
  callLimits: CallLimits,
): Promise<StreamCall> {
  await parts.inbox.ready(callLimits.deadline);
  const { id, method, target } = outgoing;
  const { pendingCalls, legacyReplyQueues } = parts;
  const receiver = new StreamReceiver();
  receiver.more = (upTo) => pendingCalls.credit(id, receiver.worker, upTo);
  pendingCalls.add(id, receiver);
  const tell = () => pendingCalls.cancel(id, receiver.worker);
  const watched = watch(
    receiver,
    callLimits,
    `${method} of ${target.topic}`,
    tell,
  );
  const recovering = recover(parts, id, receiver, callLimits);
  let answers: Disposable | undefined;
  receiver.failed = () => {
    watched[Symbol.dispose]();
    recovering[Symbol.dispose]();
    pendingCalls.remove(id);
    answers?.[Symbol.dispose]();
  };
  let open = true;
  const close = (cancel: boolean) => {
    if (!open) return;
    open = false;
    receiver.failed();
    if (cancel) tell();
  };
  try {
    const queue = queueFor(target.topic, target.host);
    answers = legacyReplyQueues.needs(queue)
      ? await legacyReplyQueues.prepare(id, callLimits.deadline)
      : undefined;
    const { monitor: _, ...unmonitored } = callLimits; // the silence between two items is bounded anyway
    const message = encodeCall(parts, outgoing, unmonitored, {
      credit: INITIAL_CREDIT,
    });
    await parts.session.send(address, message, callLimits.deadline);
  } catch (error) {
    close(false);
    throw error;
  }
  return { receiver, close };
}

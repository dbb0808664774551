/** The beginning and the end of a stream on the caller's side. @module */
import { clearDeadline, setDeadline } from "../../async/timer_wheel.ts";
import { TimeoutError } from "../../errors.ts";
import { queueFor, type Route } from "../../transport/routes.ts";
import type { AskParts } from "./unary_call.ts";
import { INITIAL_CREDIT } from "../streams/flow_control.ts";
import { StreamReceiver } from "../streams/stream_receiver.ts";
import type { CallLimits } from "./call_options.ts";
import { encodeCall, type OutgoingRequest } from "./request_encoder.ts";
import { GapRecovery } from "../streams/gap_recovery.ts";

/** A stream that has been asked for. */
export interface StreamCall {
  /** What comes. */
  readonly items: StreamReceiver;
  /** Waits for no more; `cancel` tells the worker so. */
  close(cancel: boolean): void;
}

/** Ends a stream when nothing comes for too long while there is room for it, or its signal fires, whether somebody pulls or not. */
function watch(
  items: StreamReceiver,
  { wait: { signal, at }, timeout }: CallLimits,
  what: string,
  cancel: () => void,
): Disposable {
  const end = (error: unknown, hasty: boolean) => {
    items.fail(error, hasty);
    cancel();
  };
  const text = `Nothing came from ${what} for ${Math.round(timeout)} ms`;
  const silent = () => {
    if (items.missing) items.lost();
    else end(new TimeoutError(text), false);
  };
  const aborted = () => end(signal?.reason, true);
  let expiry = setDeadline(at, silent);
  items.alive = () => {
    clearDeadline(expiry);
    // It may be the worker who waits.
    const until = items.full ? Infinity : performance.now() + timeout;
    expiry = setDeadline(until, silent);
  };
  signal?.addEventListener("abort", aborted);
  return {
    [Symbol.dispose]: () => {
      items.alive = () => {};
      clearDeadline(expiry);
      signal?.removeEventListener("abort", aborted);
    },
  };
}

/** Asks for what is missing, at once when the link is back, until disposed. */
function recover(
  { waiting, watch }: AskParts,
  call: string,
  items: StreamReceiver,
  { timeout }: CallLimits,
): Disposable {
  const recovery = new GapRecovery(items, timeout, () => {
    const { worker, upcoming: sequence, run, granted: credit } = items;
    waiting.resume(call, worker, { sequence, run, credit });
  });
  items.rival = (inbox) => {
    if (inbox !== items.worker) waiting.cancel(call, inbox);
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
  asked: OutgoingRequest,
  route: Route,
  bounds: CallLimits,
): Promise<StreamCall> {
  await parts.inbox.ready(bounds.wait);
  const { id, method, target } = asked;
  const { waiting, queues } = parts;
  const items = new StreamReceiver();
  items.more = (upTo) => waiting.credit(id, items.worker, upTo);
  waiting.add(id, items);
  const tell = () => waiting.cancel(id, items.worker);
  const watched = watch(items, bounds, `${method} of ${target.topic}`, tell);
  const recovering = recover(parts, id, items, bounds);
  let answers: Disposable | undefined;
  items.failed = () => {
    watched[Symbol.dispose]();
    recovering[Symbol.dispose]();
    waiting.remove(id);
    answers?.[Symbol.dispose]();
  };
  let open = true;
  const close = (cancel: boolean) => {
    if (!open) return;
    open = false;
    items.failed();
    if (cancel) tell();
  };
  try {
    const queue = queueFor(target.topic, target.host);
    answers = queues.needs(queue)
      ? await queues.prepare(id, bounds.wait)
      : undefined;
    const { monitor: _, ...unmonitored } = bounds; // the silence between two items is bounded anyway
    const message = encodeCall(parts, asked, unmonitored, {
      credit: INITIAL_CREDIT,
    });
    await parts.transport.send(route, message, bounds.wait);
  } catch (error) {
    close(false);
    throw error;
  }
  return { items, close };
}

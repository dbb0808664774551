/** The beginning and the end of a stream on the caller's side. @module */
import { expireAt, forget } from "../../async/timer_wheel.ts";
import { TimeoutError } from "../../errors.ts";
import { queueFor, type Route } from "../../transport/routes.ts";
import type { AskParts } from "./unary_call.ts";
import { CREDIT } from "../streams/flow_control.ts";
import { Items } from "../streams/stream_receiver.ts";
import type { Bounds } from "./call_options.ts";
import { type Asked, question } from "./request_encoder.ts";
import { Recovery } from "../streams/gap_recovery.ts";

/** A stream that has been asked for. */
export interface OpenStream {
  /** What comes. */
  readonly items: Items;
  /** Waits for no more; `cancel` tells the worker so. */
  close(cancel: boolean): void;
}

/** Ends a stream when nothing comes for too long while there is room for it, or its signal fires, whether somebody pulls or not. */
function watch(
  items: Items,
  { wait: { signal, deadline }, timeout }: Bounds,
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
  let expiry = expireAt(deadline, silent);
  items.alive = () => {
    forget(expiry);
    // It may be the worker who waits.
    const until = items.full ? Infinity : performance.now() + timeout;
    expiry = expireAt(until, silent);
  };
  signal?.addEventListener("abort", aborted);
  return {
    [Symbol.dispose]: () => {
      items.alive = () => {};
      forget(expiry);
      signal?.removeEventListener("abort", aborted);
    },
  };
}

/** Asks for what is missing, at once when the link is back, until disposed. */
function recover(
  { waiting, watch }: AskParts,
  call: string,
  items: Items,
  { timeout }: Bounds,
): Disposable {
  const recovery = new Recovery(items, timeout, () => {
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
export async function openStream(
  parts: AskParts,
  asked: Asked,
  route: Route,
  bounds: Bounds,
): Promise<OpenStream> {
  await parts.inbox.ready(bounds.wait);
  const { id, method, target } = asked;
  const { waiting, queues } = parts;
  const items = new Items();
  items.more = (upTo) => waiting.credit(id, items.worker, upTo);
  waiting.expect(id, items);
  const tell = () => waiting.cancel(id, items.worker);
  const watched = watch(items, bounds, `${method} of ${target.topic}`, tell);
  const recovering = recover(parts, id, items, bounds);
  let answers: Disposable | undefined;
  items.failed = () => {
    watched[Symbol.dispose]();
    recovering[Symbol.dispose]();
    waiting.forget(id);
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
    const message = question(parts, asked, unmonitored, { credit: CREDIT });
    await parts.transport.post(route, message, bounds.wait);
  } catch (error) {
    close(false);
    throw error;
  }
  return { items, close };
}

/** Waits of requests and events that have no handler at work: they keep no others from theirs. @module */
import { RpcError } from "../../errors.ts";
import type { Delivery } from "../../transport/transport.ts";

/** A message in hand; see `Delivery.waits`. */
export type Waiter = Pick<Delivery, "waits">;

/** Does `work` while others may take the message's place; the signal that it gets fires when the place is needed, or with `signal`. */
export async function aside<T>(
  waiter: Waiter,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const evicted = new AbortController();
  using _place = waiter.waits(() =>
    evicted.abort(new RpcError("ABORTED", "Too many messages wait"))
  );
  return await work(AbortSignal.any([signal, evicted.signal]));
}

/** Waits of requests and events whose handler does not run: they do not take the places of others in the prefetch. @module */
import { RpcError } from "../../errors.ts";
import type { Delivery } from "../../transport/transport.ts";

/** Unsettled message; see `Delivery.exemptFromPrefetch`. */
export type Waiter = Pick<Delivery, "exemptFromPrefetch">;

/** Runs `work` while other messages may take the place of this one. The signal of `work` fires with `signal`, and when too many messages wait. */
export async function aside<T>(
  waiter: Waiter,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const evicted = new AbortController();
  using _place = waiter.exemptFromPrefetch(() =>
    evicted.abort(new RpcError("ABORTED", "Too many messages wait"))
  );
  return await work(AbortSignal.any([signal, evicted.signal]));
}

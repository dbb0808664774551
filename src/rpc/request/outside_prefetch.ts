/** Waiting of requests and events whose handler does not run, without using up the prefetch of the consumer. @module */
import { RpcError } from "../../errors.ts";
import type { Delivery } from "../../transport/transport.ts";

/** Unsettled message; see `Delivery.exemptFromPrefetch`. */
export type Waiter = Pick<Delivery, "exemptFromPrefetch">;

/**
 * Runs `work` while the message is exempt from the prefetch limit. The signal passed to `work` fires with `signal`, and
 * when too many messages are exempt.
 */
export async function waitOutsidePrefetch<T>(
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

/** The time that the caller of a request waits, as far as it says so. @module */
import type { Delivery } from "../../transport/transport.ts";
import type { Request } from "../../wire/rpc_message.ts";

/**
 * Milliseconds that the caller waits from when it sent; `Infinity` = not said. oslo.messaging says it by the expiration of the
 * call's message alone. That of Warren's own bounds the time in the queue alone: a stream may take longer.
 */
export function patienceOf(
  { message: { expiration } }: Delivery,
  { timeout, reply, warren }: Request,
): number {
  if (timeout !== undefined) return timeout;
  const says = reply && reply.form !== "bare" && !warren;
  return says && expiration !== undefined ? expiration : Infinity;
}

/** An inbox that loses what a test says, whatever the transport. */
import { profileOf } from "../../src/connection/bus_profile.ts";
import type { Inbox, Pending } from "../../src/rpc/inbox.ts";
import { keyOf, shared } from "../../src/connection/transport_registry.ts";
import { defaultLimits } from "../../src/wire/codec.ts";
import type { Reply } from "../../src/wire/rpc_message.ts";

/** The inbox of this process on a bus to which it is connected. */
export function inboxOf(url: string): Inbox {
  const key = keyOf([new URL(url)], {}, profileOf(undefined, "classic"));
  return shared(key, () => {
    throw new Error(`No connection to ${url}`);
  }, defaultLimits).inbox;
}

/** Loses the replies of which `lost` is true, for calls that begin from now on. */
export function lose(url: string, lost: (reply: Reply) => boolean): void {
  const { pending } = inboxOf(url);
  const set = pending.set.bind(pending);
  pending.set = (call, waiter) => {
    const lossy: Pending = waiter.pending;
    const receive = lossy.receive.bind(lossy);
    lossy.receive = (reply) => lost(reply) ? undefined : receive(reply);
    return set(call, waiter);
  };
}

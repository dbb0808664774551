/** An inbox that loses what a test says, whatever the transport. */
import { busProfile } from "../../src/connection/bus_profile.ts";
import type { Inbox, PendingReply } from "../../src/rpc/inbox.ts";
import {
  sharedTransport,
  transportKey,
} from "../../src/connection/transport_registry.ts";
import { defaultLimits } from "../../src/wire/json.ts";
import type { Reply } from "../../src/wire/rpc_message.ts";

/** The inbox of this process on a bus to which it is connected. */
export function inboxOf(url: string): Inbox {
  const key = transportKey(
    [new URL(url)],
    {},
    busProfile(undefined, "auto"),
  );
  return sharedTransport(key, () => {
    throw new Error(`No connection to ${url}`);
  }, defaultLimits).inbox;
}

/** Loses the replies of which `lost` is true, for calls that begin from now on. */
export function lose(url: string, lost: (reply: Reply) => boolean): void {
  const { pending } = inboxOf(url);
  const set = pending.set.bind(pending);
  pending.set = (call, waiter) => {
    const lossy: PendingReply = waiter.pending;
    const receive = lossy.receive.bind(lossy);
    lossy.receive = (reply, bytes) =>
      lost(reply) ? undefined : receive(reply, bytes);
    return set(call, waiter);
  };
}

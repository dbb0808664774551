/** Age of the first message of a queue. @module */
import { RpcError } from "../../errors.ts";
import { Republisher } from "../../rpc/retries/republisher.ts";
import type { QueueAddress } from "../../transport/address.ts";
import { isNearDeliveryLimit } from "../../transport/delivery_limit.ts";
import type { Session } from "../../transport/transport.ts";
import { sentAt } from "../../wire/mod.ts";

/** Bytes of the message that are read: its headers tell its age. */
const MAX_BODY_BYTES = 1_024;

/**
 * Returns the milliseconds since the first message of a queue was sent, by two clocks that may differ. Undefined if the queue
 * is empty or has a consumer, or if its first message is not of Warren. The message stays where it is; one that the broker
 * might drop after more looks is replaced by a copy at the end of its queue.
 */
export async function oldestIn(
  session: Session,
  queue: QueueAddress,
  timeout: number,
): Promise<number | undefined> {
  const deadline = { at: performance.now() + timeout };
  const options = { maxMessages: 1, maxBodyBytes: MAX_BODY_BYTES };
  try {
    const browser = await session.browse(queue, options, deadline);
    if (!browser) return undefined;
    try {
      const [first] = await browser.read() ?? [];
      if (!first) return undefined;
      if (isNearDeliveryLimit(first)) {
        await new Republisher(session).replace(first, queue);
      }
      const sent = sentAt(first.message.headers);
      return sent === undefined ? undefined : Math.max(0, Date.now() - sent);
    } finally {
      await browser.close();
    }
  } catch (error) {
    if (error instanceof RpcError) return undefined; // e.g. a consumer has just started
    throw error;
  }
}

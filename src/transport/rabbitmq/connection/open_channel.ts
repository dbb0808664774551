/** Channels of a connection that may be lost while one is opened. @module */
import type { Channel } from "npm:amqplib@2.3.1";
import { pause, within } from "../../../async/deadline.ts";
import type { Open } from "../amqplib/channel.ts";
import type { Socket } from "./dial.ts";
import { type Side } from "./supervised_connection.ts";
import { backoff } from "../../../async/backoff.ts";

/** Opens one on a side's connection, however often that is lost meanwhile; `signal` ends it, and leaves none open. */
export async function openOn<C extends Channel>(
  side: Side,
  open: (socket: Socket) => Promise<Open<C>>,
  signal: AbortSignal,
): Promise<Open<C>> {
  const wait = { deadline: Infinity, signal };
  for (let attempt = 0;; attempt++) {
    const opening = open(await side.up(wait));
    try {
      return await within(opening, wait, () => undefined);
    } catch {
      if (signal.aborted) void opening.then((late) => late.close(), () => {});
      await pause(backoff(attempt), wait);
    }
  }
}

/** Channels of a connection that may be lost while one is opened. @module */
import type { Channel } from "npm:amqplib@2.3.1";
import { delay, withDeadline } from "../../../async/deadline.ts";
import type { Open } from "../amqplib/channel.ts";
import type { Socket } from "./dial.ts";
import type { SupervisedConnection } from "./supervised_connection.ts";
import { backoff } from "../../../async/backoff.ts";

/** Opens one on a side's connection, however often that is lost meanwhile; `signal` ends it, and leaves none open. */
export async function openChannelOn<C extends Channel>(
  connection: SupervisedConnection,
  open: (socket: Socket) => Promise<Open<C>>,
  signal: AbortSignal,
): Promise<Open<C>> {
  const wait = { at: Infinity, signal };
  for (let attempt = 0;; attempt++) {
    const opening = open(await connection.up(wait));
    try {
      return await withDeadline(opening, wait, () => undefined);
    } catch {
      if (signal.aborted) void opening.then((late) => late.close(), () => {});
      await delay(backoff(attempt), wait);
    }
  }
}

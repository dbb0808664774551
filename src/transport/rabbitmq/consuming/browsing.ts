/** Opens a browser of a queue that no other one looks at. @module */
import type { Channel } from "../../../amqp/mod.ts";
import { type Deadline, delay, withDeadline } from "../../../async/deadline.ts";
import { TimeoutError, TopologyError } from "../../../errors.ts";
import type { BrowseOptions, QueueState } from "../../transport.ts";
import { inspectQueue } from "../connection/declarations.ts";
import type { SupervisedConnection } from "../connection/supervised_connection.ts";
import { isOfMissing } from "../routes/adoption.ts";
import { browseError, QueueBrowser } from "./queue_browser.ts";

/**
 * Milliseconds between two counts of the messages. If they differ, the messages of another look are being returned, or
 * messages arrive; in the first case by many, or once. The look begins after some counts with small differences, and at
 * the latest after the last time.
 */
const COUNT_INTERVAL_MS = 30;
const MAX_ARRIVALS = 64;
const MAX_SMALL_DIFFERENCES = 4;
const MAX_UNSTEADY_MS = 5_000;

/**
 * Opens a browser; undefined if the queue does not exist. Two that begin at the same time both see the consumer of the
 * other one, so that both fail.
 *
 * @throws {TopologyError} the queue has a consumer, or the user may not read it.
 * @throws {RpcError} there is no connection or no reply until the deadline.
 */
export async function openBrowser(
  connection: SupervisedConnection,
  queue: string,
  options: BrowseOptions,
  deadline: Deadline,
): Promise<QueueBrowser | undefined> {
  const channel = await openChannel(connection, queue, deadline);
  let browser: QueueBrowser | undefined;
  try {
    const state = await steadyState(channel, queue);
    browser = new QueueBrowser(channel, queue, state.messages, options);
    if (state.consumers === 0 && await browser.start()) return browser;
  } catch (error) {
    await (browser ?? channel).close();
    if (isOfMissing(error)) return undefined;
    throw browseError(queue, error);
  }
  await browser.close();
  throw inUse(queue);
}

/** Returns the state of a queue once the number of its messages does not change. */
async function steadyState(
  channel: Channel,
  queue: string,
): Promise<QueueState> {
  const end = performance.now() + MAX_UNSTEADY_MS;
  for (let before = -Infinity, small = 0;;) {
    const state = await inspectQueue(channel, queue, undefined);
    const difference = Math.abs(state.messages - before);
    small = difference <= MAX_ARRIVALS ? small + 1 : 0;
    const isSteady = difference === 0 || small >= MAX_SMALL_DIFFERENCES ||
      performance.now() > end;
    if (isSteady || state.consumers > 0) return state;
    before = state.messages;
    await delay(COUNT_INTERVAL_MS, { at: Infinity });
  }
}

/** Opens a channel before the deadline, or leaves none open. */
async function openChannel(
  connection: SupervisedConnection,
  queue: string,
  deadline: Deadline,
): Promise<Channel> {
  const current = await connection.waitForConnection(deadline);
  const opening = current.openChannel();
  try {
    return await withDeadline(
      opening,
      deadline,
      () => new TimeoutError(`Cannot look at ${queue}: no channel in time`),
    );
  } catch (error) {
    void opening.then((late) => late.close(0), () => {});
    throw browseError(queue, error);
  }
}

/** Creates the error for a queue that has a consumer. */
const inUse = (queue: string): TopologyError =>
  new TopologyError(
    `Cannot look at ${queue}: it has a consumer, which gets the messages; stop that program, or try again when it is done`,
    { data: { entity: `queue ${queue}`, reason: "inUse" } },
  );

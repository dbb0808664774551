/** Record of a pause, in the queue `<queue>.paused`: written by an operator, read by workers. @module */
import { delay } from "../../async/deadline.ts";
import { TimeoutError } from "../../errors.ts";
import {
  type Address,
  direct,
  type QueueAddress,
  queueName,
} from "../../transport/address.ts";
import type {
  Delivery,
  Message,
  Session,
  Transport,
} from "../../transport/transport.ts";
import { type Pause, pauseIn } from "../discovery/control_contract.ts";

/** Access to the queues of a broker. */
export interface PauseAccess {
  readonly session: Session;
  readonly transport: Transport;
}

/** Milliseconds for one request to the broker. */
export const STEP_MS = 10_000;
/** Milliseconds for the record to arrive; another worker may be reading it. */
const READ_MS = 3_000;

/** Milliseconds between two looks at a queue that is being read. */
export const POLL_MS = 50;

/** Deadline of one request to the broker. */
export const step = () => ({ at: performance.now() + STEP_MS });

/** Queue with the record of a pause. */
export const pausedAddress = (of: QueueAddress): Address => ({
  kind: "paused",
  of,
});

/** Message with the record of a pause. */
export function recordOf(pause: Pause): Message {
  const body = new TextEncoder().encode(JSON.stringify(pause));
  return { body, headers: {}, persistent: true, mandatory: true };
}

/**
 * True if a queue has the record of a pause. While a worker reads the record, the broker does not count it, so that its
 * state is seen only when no worker reads.
 *
 * @throws {RpcError} the broker does not answer, or the record is read for too long.
 */
export async function isPaused(
  { transport }: PauseAccess,
  queue: QueueAddress,
): Promise<boolean> {
  const deadline = step();
  for (;;) {
    const state = await transport.inspect(pausedAddress(queue), deadline);
    if (!state) return false;
    if (state.messages > 0) return true;
    if (state.consumers === 0) return false;
    if (performance.now() > deadline.at) {
      const name = queueName(pausedAddress(queue));
      throw new TimeoutError(`Cannot see ${name}: it is being read`);
    }
    await delay(POLL_MS, deadline);
  }
}

/**
 * Reads the pause of a queue; undefined if the queue is not paused. `known` is its record if it need not be read. A pause
 * whose record does not arrive in time is an empty object.
 *
 * @throws {RpcError} the broker does not answer, or refuses the queue.
 */
export async function readPause(
  access: PauseAccess,
  queue: QueueAddress,
  known?: Pause,
): Promise<Pause | undefined> {
  if (!await isPaused(access, queue)) return undefined;
  if (known) return known;
  const record = await readRecord(access.session, queue);
  if (record) return record;
  // The queue may have been deleted in between, and created again by this consumer.
  const gone = await access.session.removeEmpty(pausedAddress(queue), step());
  return gone ? undefined : {};
}

/**
 * Reads the record; undefined if there is none within some seconds. It is replaced by a copy and not requeued, because the
 * broker may drop a message that was requeued often. Until the copy is there, the consumer shows that there is a record.
 */
async function readRecord(
  session: Session,
  queue: QueueAddress,
): Promise<Pause | undefined> {
  const arrived = Promise.withResolvers<Delivery>();
  let late = false;
  const consumer = await session.consume(
    pausedAddress(queue),
    (delivery) => late ? delivery.reject(true) : arrived.resolve(delivery),
    { prefetch: 1, restore: false },
    step(),
  );
  const timeout = new AbortController();
  const nothing = delay(READ_MS, { at: Infinity, signal: timeout.signal })
    .then(() => undefined, () => undefined);
  const delivery = await Promise.race([arrived.promise, nothing]);
  timeout.abort();
  late = true;
  const copied = delivery && await copy(session, queue, delivery);
  await consumer.cancel();
  if (copied) delivery.ack();
  else delivery?.reject(true);
  return delivery && (pauseIn(delivery.message.body) ?? {});
}

/** Publishes a copy of a record; false if that fails. */
async function copy(
  session: Session,
  queue: QueueAddress,
  { message: { body } }: Delivery,
): Promise<boolean> {
  const record = { body, headers: {}, persistent: true, mandatory: true };
  const address = direct(queueName(pausedAddress(queue)));
  return await session.publish(address, record, step())
    .then(() => true, () => false);
}

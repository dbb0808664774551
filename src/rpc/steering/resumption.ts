/** Steps by which an operator pauses and resumes a queue; each can be repeated after it was broken off. @module */
import { AsyncQueue } from "../../async/async_queue.ts";
import { delay } from "../../async/deadline.ts";
import { NoRouteError, UnconfirmedError } from "../../errors.ts";
import {
  type Address,
  direct,
  type QueueAddress,
  queueName,
} from "../../transport/address.ts";
import type { Consumer, Delivery, Message } from "../../transport/transport.ts";
import { interruptionsOf } from "../../wire/mod.ts";
import { QUARANTINE_AFTER } from "../retries/quarantine.ts";
import { sameAttempt } from "../retries/republisher.ts";
import type { Pause } from "../discovery/control_contract.ts";
import {
  isPaused,
  type PauseAccess,
  pausedAddress,
  POLL_MS,
  recordOf,
  step,
} from "./pause_record.ts";

/** Casts that are moved back ahead of their confirmations. */
const PREFETCH = 100;
/** Milliseconds without progress after which a resumption fails. */
const STALLED_MS = 30_000;

/** Queue with the casts of a paused queue. */
export const parkedAddress = (of: QueueAddress): Address => ({
  kind: "parked",
  of,
});

/** Writes the record of a pause; resolves when the broker has confirmed it. The queue of the casts exists before it. */
export async function writePause(
  { session }: PauseAccess,
  queue: QueueAddress,
  pause: Pause,
): Promise<void> {
  const record = pausedAddress(queue);
  for (;;) {
    await session.declare(parkedAddress(queue), step());
    await session.declare(record, step());
    await session.waitForNewQueues(step());
    try {
      return await session.publish(record, recordOf(pause), step());
    } catch (error) {
      if (!(error instanceof NoRouteError)) throw error; // another operator has resumed it meanwhile
    }
  }
}

/** Removes all records of a pause, and their queue. From then on, the queue is not paused. */
export async function removePause(
  access: PauseAccess,
  queue: QueueAddress,
): Promise<void> {
  const { session, transport } = access;
  const record = pausedAddress(queue);
  const deadline = performance.now() + STALLED_MS;
  while (await transport.inspect(record, step())) {
    const consumer = await session.consume(
      record,
      (delivery) => delivery.ack(),
      { prefetch: PREFETCH, restore: false },
      step(),
    );
    await cancelWhenEmpty(access, record, consumer);
    await session.flush(step());
    if (await session.removeEmpty(record, step())) return;
    if (performance.now() > deadline) throw stalled(queue);
    await delay(POLL_MS, step());
  }
}

/**
 * Moves all casts that wait back in their order, and deletes their queue. Stops if an operator pauses the queue again, since
 * the workers would return them. Resolves to the number of the casts.
 */
export async function moveBack(
  access: PauseAccess,
  queue: QueueAddress,
): Promise<number> {
  const { session, transport } = access;
  const parked = parkedAddress(queue);
  let moved = 0;
  let deadline = performance.now() + STALLED_MS;
  for (;;) {
    if (await isPaused(access, queue)) return moved;
    const state = await transport.inspect(parked, step());
    if (!state) return moved;
    if (state.messages > 0) {
      moved += await moveBatch(access, queue, state.messages);
      deadline = performance.now() + STALLED_MS;
    } else if (await session.removeEmpty(parked, step())) return moved;
    else {
      if (performance.now() > deadline) throw stalled(queue);
      await delay(POLL_MS, step()); // another operator moves the rest
    }
  }
}

/** Moves the first casts, one after the other. Each is acknowledged when the broker has confirmed its copy. */
async function moveBatch(
  access: PauseAccess,
  queue: QueueAddress,
  count: number,
): Promise<number> {
  const { session } = access;
  const arrived = new AsyncQueue<Delivery>();
  const consumer = await session.consume(
    parkedAddress(queue),
    (delivery) => arrived.push(delivery),
    { prefetch: PREFETCH, restore: false },
    step(),
  );
  void consumer.ended.then(() => arrived.end());
  const emptied = cancelWhenEmpty(access, parkedAddress(queue), consumer);
  let moved = 0;
  try {
    for await (const delivery of arrived) {
      await copyBack(access, queue, delivery.message);
      delivery.ack();
      moved++;
      if (moved === count) void consumer.cancel();
    }
    return moved;
  } finally {
    await consumer.cancel();
    await emptied;
    for await (const delivery of arrived) delivery.reject(true); // after an error
    await session.flush(step()).catch(() => {});
  }
}

/** Cancels a consumer when its queue is empty, since another operator may take some of the casts. */
async function cancelWhenEmpty(
  { transport }: PauseAccess,
  queue: Address,
  consumer: Consumer,
): Promise<void> {
  let ended = false;
  void consumer.ended.then(() => ended = true);
  while (!ended) {
    await delay(POLL_MS, step());
    const state = await transport.inspect(queue, step()).catch(() => undefined);
    if (!state?.messages) return await consumer.cancel();
  }
}

/** Publishes a cast to the queue from which it came; one that has interrupted its workers goes to their quarantine. */
async function copyBack(
  { session }: PauseAccess,
  queue: QueueAddress,
  message: Message,
): Promise<void> {
  const copy = sameAttempt(message);
  const quarantine = { kind: "quarantine", of: queue } as const;
  const suspect = interruptionsOf(message.headers) >= QUARANTINE_AFTER;
  const targets = suspect ? [quarantine, queue] : [queue];
  for (const target of targets) {
    try {
      return await session.publish(direct(queueName(target)), copy, step());
    } catch (error) {
      if (!(error instanceof NoRouteError)) throw error;
    }
  }
  await session.declare(queue, step());
  await session.publish(direct(queueName(queue)), copy, step());
}

const stalled = (queue: QueueAddress) =>
  new UnconfirmedError(
    `Cannot resume ${
      queueName(queue)
    } yet: other processes read its queues; resume it again`,
  );

/**
 * Queues of one host of a topic: protected while services of the host start, removed when the host is gone and the
 * queues are empty.
 *
 * @module
 */
import { TimeoutError, TopologyError } from "../errors.ts";
import { logger } from "../logging.ts";
import { type Deadline, delay } from "../async/deadline.ts";
import {
  type Address,
  type QueueAddress,
  queueFor,
  queueName,
} from "../transport/address.ts";
import type { Consumer, Session, Transport } from "../transport/transport.ts";
import { RETRY_DELAYS_MS } from "../contract/retry_policy.ts";

/** Milliseconds for one attempt to hold a host. */
const ATTEMPT_TIMEOUT_MS = 3_000;
/** Milliseconds for one request to the broker. */
const TIMEOUT_MS = 10_000;
/** Milliseconds in which a removed binding has to be restored, which includes an outage of the broker. */
const REBIND_TIMEOUT_MS = 60_000;
/** Milliseconds until messages that were routed before the binding was removed have arrived in the queue. */
const SETTLE_MS = 500;
/** Milliseconds between two attempts to hold a host while another process removes its queues. */
const RETRY_INTERVAL_MS = 200;
/** Milliseconds after which these attempts end. */
const HOLD_TIMEOUT_MS = 30_000;

/** Access to the queues of a broker. */
export interface HostQueueAccess {
  /** Channels for declarations and consumers. */
  readonly session: Session;
  /** Transport that inspects queues. */
  readonly transport: Transport;
}

/** A host of a topic. */
export interface TopicHost {
  /** Topic. */
  readonly topic: string;
  /** Host. */
  readonly host: string;
}

/** Lock: the right to remove the queues of a host, until disposed. */
export interface HostLock extends TopicHost, AsyncDisposable {
  /** Fires when the lock is lost. */
  readonly lost: AbortSignal;
}

function consumeLock(
  { session }: HostQueueAccess,
  { topic, host }: TopicHost,
  exclusive: boolean,
  deadline: Deadline,
): Promise<Consumer> {
  return session.consume(
    { kind: "hostLock", topic, host },
    (stray) => stray.reject(false),
    { prefetch: 1, exclusive, optional: true },
    deadline,
  );
}

/**
 * Acquires the lock of a host; resolves to undefined while services of the host start, or another process has the lock.
 */
export async function lockHost(
  access: HostQueueAccess,
  host: TopicHost,
  signal?: AbortSignal,
): Promise<HostLock | undefined> {
  if (!isLockable(host)) return undefined;
  try {
    const consumer = await consumeLock(
      access,
      host,
      true,
      stepDeadline(signal),
    );
    const lost = new AbortController();
    void consumer.ended.then(() => lost.abort());
    return {
      ...host,
      lost: lost.signal,
      [Symbol.asyncDispose]: () => consumer.cancel(),
    };
  } catch (error) {
    const level = isLocked(error) ? "debug" : "warn";
    const queue = queueFor(host.topic, host.host);
    logger("rpc")[level]("The queues of {queue} stay: {error}", {
      queue,
      error,
    });
    return undefined;
  }
}

/**
 * Maximum length of a queue name in AMQP. A host with longer names cannot be locked, so that its queues are not removed.
 */
const MAX_NAME_BYTES = 255;

/** True if the host can be locked. */
export const isLockable = ({ topic, host }: TopicHost): boolean =>
  queueName({ kind: "hostLock", topic, host }).length <= MAX_NAME_BYTES;

const isLocked = (error: unknown) =>
  error instanceof TopologyError && error.data.reason === "inUse";

/** True if the node of a queue is down. */
const isOfDownNode = (error: unknown) =>
  error instanceof TimeoutError && error.data.reason === "unavailable";

/**
 * Protects the queues of a host from removal until disposed; waits while another process has the lock. Nobody can have the
 * lock while the node of its queue is down, so that nothing has to be protected then.
 */
export async function holdHost(
  access: HostQueueAccess,
  host: TopicHost,
  signal?: AbortSignal,
): Promise<AsyncDisposable> {
  const startedAt = performance.now();
  const deadline = startedAt + HOLD_TIMEOUT_MS;
  for (;;) {
    try {
      const at = performance.now() + ATTEMPT_TIMEOUT_MS;
      const consumer = await consumeLock(access, host, false, { at, signal });
      return { [Symbol.asyncDispose]: () => consumer.cancel() };
    } catch (error) {
      if (isOfDownNode(error)) return new AsyncDisposableStack();
      const now = performance.now();
      const isSlow = error instanceof TimeoutError &&
        now < startedAt + TIMEOUT_MS;
      if (!isSlow && (!isLocked(error) || now > deadline)) throw error;
      await delay(RETRY_INTERVAL_MS, { at: deadline, signal });
    }
  }
}

/**
 * Queues that workers of a host consume or declare, in the order of their removal: a queue whose messages move to
 * another one is removed before that one.
 */
function queuesOf(hostQueue: QueueAddress): readonly Address[] {
  return [
    ...RETRY_DELAYS_MS.map((
      ms,
    ) => ({ kind: "delay", of: hostQueue, ms } as const)),
    { kind: "quarantine", of: hostQueue },
    { kind: "parked", of: hostQueue },
    { kind: "paused", of: hostQueue },
    hostQueue,
    { kind: "deadLetter", of: hostQueue },
  ];
}

/**
 * Resolves to true if no queue of a host has a message or a consumer. The check is cheap, and rules out most hosts
 * before they are locked.
 */
export async function isEmpty(
  { transport }: HostQueueAccess,
  { topic, host }: TopicHost,
  signal: AbortSignal,
): Promise<boolean> {
  const queues = queuesOf({ kind: "host", topic, host });
  return await existingQueues(transport, queues, signal) !== undefined;
}

/**
 * Removes the queues of a locked host if all are empty; resolves to true if none exists afterwards. The binding is
 * removed first, and restored if the queue stays. Messages that are sent meanwhile are returned to their sender, or
 * keep the queue from being removed.
 *
 * @throws {RpcError} the broker does not reply, refuses a request, or has a queue with other settings.
 */
export async function removeQueues(
  { session, transport }: HostQueueAccess,
  { topic, host, lost }: HostLock,
  signal: AbortSignal,
): Promise<boolean> {
  const hostQueue: QueueAddress = { kind: "host", topic, host };
  const stopping = AbortSignal.any([lost, signal]);
  let needsBinding = true;
  try {
    await session.unbind(hostQueue, stepDeadline(stopping));
    await delay(SETTLE_MS, stepDeadline(stopping));
    const empty = await existingQueues(
      transport,
      queuesOf(hostQueue),
      stopping,
    );
    needsBinding = empty?.includes(hostQueue) ?? true;
    for (const queue of empty ?? []) {
      if (!await session.removeEmpty(queue, stepDeadline(stopping))) {
        return false;
      }
      if (queue === hostQueue) needsBinding = false;
    }
    return empty !== undefined;
  } finally {
    if (needsBinding) await rebind(session, hostQueue);
  }
}

function stepDeadline(signal?: AbortSignal) {
  return { at: performance.now() + TIMEOUT_MS, signal };
}

/** Returns the queues that exist; undefined if one of them has a message or a consumer. */
async function existingQueues(
  transport: Transport,
  queues: readonly Address[],
  signal: AbortSignal,
): Promise<readonly Address[] | undefined> {
  const existing: Address[] = [];
  // RabbitMQ logs each check of a missing queue, so the queues that exist most often are checked first.
  for (const queue of queues.toReversed()) {
    const counts = await transport.inspect(queue, stepDeadline(signal));
    if (!counts) continue;
    if (counts.messages > 0 || counts.consumers > 0) return undefined;
    existing.unshift(queue);
  }
  return existing;
}

/** Restores the binding of a queue, also if its removal may have failed. */
async function rebind(
  session: Session,
  address: QueueAddress,
): Promise<void> {
  const deadline = { at: performance.now() + REBIND_TIMEOUT_MS };
  await session.declare(address, deadline).catch((error) => {
    logger("rpc").error(
      "The queue {queue} stays without its binding: {error}",
      {
        queue: queueName(address),
        error,
      },
    );
  });
}

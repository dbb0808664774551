/** The queues of one host of a topic: kept while its services start, removed when it has left and nothing is in them. @module */
import { TopologyError } from "../errors.ts";
import { logger } from "../logging.ts";
import { delay } from "../async/deadline.ts";
import {
  type Address,
  type QueueAddress,
  queueFor,
  queueName,
} from "../transport/address.ts";
import type { Consumer, Session, Transport } from "../transport/transport.ts";
import { RETRY_DELAYS_MS } from "../contract/retry_policy.ts";

/** Milliseconds that a step may take. */
const TIMEOUT_MS = 10_000;
/** Milliseconds until a binding has to be there again, also after an outage of the broker. */
const LONGEST_BINDING = 60_000;
/** Milliseconds until what was routed before the binding went is in the queue. */
const SETTLE_MS = 500;
/** Milliseconds between two attempts to start, while another process removes the queues; and how long that may take. */
const RETRY_INTERVAL_MS = 200;
const LONGEST = 30_000;

/** What it works with. */
export interface HostParts {
  /** Its channels. */
  readonly session: Session;
  /** To inspect queues. */
  readonly transport: Transport;
}

/** A host of a topic. */
export interface HostOf {
  /** Topic. */
  readonly topic: string;
  /** Host. */
  readonly host: string;
}

/** The right to remove the queues of a host, until disposed. */
export interface HostLock extends HostOf, AsyncDisposable {
  /** Fires when the right is lost. */
  readonly lost: AbortSignal;
}

function consumeLock(
  { session }: HostParts,
  { topic, host }: HostOf,
  signal: AbortSignal | undefined,
  exclusive: boolean,
): Promise<Consumer> {
  return session.consume(
    { kind: "hostLock", topic, host },
    (stray) => stray.reject(false),
    { prefetch: 1, exclusive, optional: true },
    { at: performance.now() + TIMEOUT_MS, signal },
  );
}

/** Takes the right to remove the queues of a host; undefined while services start there, or another removes them. */
export async function lockHost(
  parts: HostParts,
  host: HostOf,
  signal?: AbortSignal,
): Promise<HostLock | undefined> {
  if (!isLockable(host)) return undefined;
  try {
    const consumer = await consumeLock(parts, host, signal, true);
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

/** Bytes of a queue's name at most. Whoever has longer names has no lock, so that nothing is removed. */
const LONGEST_NAME = 255;

/** True if the host can be locked. */
export const isLockable = ({ topic, host }: HostOf): boolean =>
  queueName({ kind: "hostLock", topic, host }).length <= LONGEST_NAME;

const isLocked = (error: unknown) =>
  error instanceof TopologyError && error.data.reason === "inUse";

/** Keeps the queues of a host from being removed until disposed; waits while they are being removed. */
export async function holdHost(
  parts: HostParts,
  host: HostOf,
  signal?: AbortSignal,
): Promise<AsyncDisposable> {
  const deadline = performance.now() + LONGEST;
  for (;;) {
    try {
      const consumer = await consumeLock(parts, host, signal, false);
      return { [Symbol.asyncDispose]: () => consumer.cancel() };
    } catch (error) {
      if (!isLocked(error) || performance.now() > deadline) throw error;
      await delay(RETRY_INTERVAL_MS, { at: deadline, signal });
    }
  }
}

/** All queues that workers of a host consume or make, in the order of their removal: what feeds another goes before it. */
function queuesOf(queue: QueueAddress): readonly Address[] {
  return [
    ...RETRY_DELAYS_MS.map((ms) => ({ kind: "delay", of: queue, ms } as const)),
    { kind: "quarantine", of: queue },
    queue,
    { kind: "deadLetter", of: queue },
  ];
}

/** True if a host has no message in any queue, and no consumer: most that must stay are known by that. */
export async function isEmpty(
  { transport }: HostParts,
  { topic, host }: HostOf,
  signal: AbortSignal,
): Promise<boolean> {
  const queues = queuesOf({ kind: "host", topic, host });
  return await emptyOnes(transport, queues, signal) !== undefined;
}

/**
 * Removes the queues of a locked host if nothing is in any of them; true if none is left. Its binding goes first, and comes
 * back if the queue stays: so what is sent meanwhile is refused, or keeps the queue.
 *
 * @throws {RpcError} the broker does not answer, refuses it, or has a queue in another form.
 */
export async function removeQueues(
  { session, transport }: HostParts,
  { topic, host, lost }: HostLock,
  signal: AbortSignal,
): Promise<boolean> {
  const shared: QueueAddress = { kind: "host", topic, host };
  const ending = AbortSignal.any([lost, signal]);
  let kept = true;
  try {
    await session.unbind(shared, soon(ending));
    await delay(SETTLE_MS, soon(ending));
    const empty = await emptyOnes(transport, queuesOf(shared), ending);
    kept = empty?.includes(shared) ?? true;
    for (const queue of empty ?? []) {
      if (!await session.removeEmpty(queue, soon(ending))) return false;
      if (queue === shared) kept = false;
    }
    return empty !== undefined;
  } finally {
    if (kept) await bindAgain(session, shared);
  }
}

function soon(signal?: AbortSignal) {
  return { at: performance.now() + TIMEOUT_MS, signal };
}

/** Those of the queues that exist; undefined if one of them has a message or a consumer. */
async function emptyOnes(
  transport: Transport,
  queues: readonly Address[],
  signal: AbortSignal,
): Promise<readonly Address[] | undefined> {
  const found: Address[] = [];
  // RabbitMQ logs each question for a queue that does not exist: those that most often exist are first.
  for (const queue of queues.toReversed()) {
    const counts = await transport.inspect(queue, soon(signal));
    if (!counts) continue;
    if (counts.messages > 0 || counts.consumers > 0) return undefined;
    found.unshift(queue);
  }
  return found;
}

/** Also makes it again where it is not known whether it was removed. */
async function bindAgain(
  session: Session,
  address: QueueAddress,
): Promise<void> {
  const wait = { at: performance.now() + LONGEST_BINDING };
  await session.declare(address, wait).catch((error) => {
    logger("rpc").error(
      "The queue {queue} stays without its binding: {error}",
      {
        queue: queueName(address),
        error,
      },
    );
  });
}

/** Pauses of queues: written to the broker, told to the workers, listed, and ended. @module */
import {
  type ConnectionContext,
  dependenciesOf,
} from "../../connection/connection_context.ts";
import { ControlRefusedError } from "../../operator_errors.ts";
import type {
  Pause,
  PausedTarget,
} from "../../rpc/discovery/control_contract.ts";
import {
  type PauseAccess,
  readPause,
  step,
} from "../../rpc/steering/pause_record.ts";
import {
  moveBack,
  parkedAddress,
  removePause,
  writePause,
} from "../../rpc/steering/resumption.ts";
import { queueFor, topicAddress } from "../../transport/address.ts";
import { command, type OperationOptions, operatorOf } from "./commands.ts";
import type { SteeredServices, SteeredTarget } from "./targets.ts";

/**
 * Queue that is paused.
 * @category Operations
 */
export interface PausedQueue extends PausedTarget {
  /** Number of casts that wait. */
  readonly waiting: number;
  /** `resuming` if a resumption was broken off: the queue is not paused, and `resume` moves the rest of its casts. */
  readonly state: "paused" | "resuming";
}

/**
 * Result of a pause.
 * @category Operations
 */
export interface PauseResult {
  /** Record of the pause; that of an earlier pause if the queue was paused already. */
  readonly pause: Pause;
  /** Hosts of the workers that have taken notice. */
  readonly hosts: readonly string[];
  /** Hosts of the services that take no commands, and serve the queue as before. */
  readonly refused: readonly string[];
}

/**
 * Result of a resumption.
 * @category Operations
 */
export interface ResumeResult {
  /** Casts that were moved back. */
  readonly moved: number;
  /** Hosts of the workers that have taken notice. */
  readonly hosts: readonly string[];
}

function accessOf(connection: ConnectionContext): PauseAccess {
  const { session, transport } = dependenciesOf(connection).resources;
  return { session, transport };
}

/** Pauses a queue. If no service takes the command although some are there, the pause is removed again. */
export async function pause(
  connection: ConnectionContext,
  target: SteeredTarget,
  reason: string,
  options: OperationOptions,
): Promise<PauseResult> {
  const access = accessOf(connection);
  const queue = topicAddress(target.topic, target.host);
  const earlier = await readPause(access, queue);
  const by = operatorOf(connection);
  const record = earlier ?? { reason, by, since: Date.now() };
  if (!earlier) await writePause(access, queue, record);
  const { topic, host } = target;
  try {
    const { taken, refused } = await command(
      connection,
      { name: "look", to: { topic, host }, args: { pause: record } },
      options,
    );
    return { pause: record, hosts: taken.map(({ host }) => host), refused };
  } catch (error) {
    if (error instanceof ControlRefusedError && !earlier) {
      await removePause(access, queue);
      await moveBack(access, queue);
    }
    throw error;
  }
}

/**
 * Resumes a queue: removes the record, tells the workers, and moves the casts back. A worker that still takes the queue for
 * paused looks again before it acknowledges a cast that it has moved.
 */
export async function resume(
  connection: ConnectionContext,
  target: SteeredTarget,
  options: OperationOptions,
): Promise<ResumeResult> {
  const access = accessOf(connection);
  const { topic, host } = target;
  const queue = topicAddress(topic, host);
  await removePause(access, queue);
  const told = command(
    connection,
    { name: "look", to: { topic, host }, args: {} },
    options,
  ).catch((error) => {
    if (error instanceof ControlRefusedError) return { taken: [] };
    throw error;
  });
  const { taken } = await told; // a worker that takes the queue for paused would change the order of the casts
  const moved = await moveBack(access, queue);
  return { moved, hosts: taken.map(({ host }) => host) };
}

/** Lists the queues that running services report as paused, and the given one. */
export async function pauses(
  connection: ConnectionContext,
  { topic, host }: SteeredServices,
  options: OperationOptions,
): Promise<readonly PausedQueue[]> {
  const found = new Map<string, SteeredTarget>();
  const add = ({ topic, host }: SteeredTarget) =>
    found.set(queueFor(topic, host), { topic, host });
  if (topic !== undefined) add({ topic });
  if (topic !== undefined && host !== undefined) add({ topic, host });
  const { taken } = await command(
    connection,
    { name: "pauses", to: { topic, host }, args: {} },
    options,
  ).catch((error) => {
    if (error instanceof ControlRefusedError) return { taken: [] };
    throw error;
  });
  for (const { paused = [] } of taken) {
    for (const each of paused) {
      if (topic === undefined || topic === each.topic) add(each);
    }
  }
  const access = accessOf(connection);
  const all = await Promise.all(
    [...found.values()].map((each) => describe(access, each)),
  );
  return all.filter((each) => each !== undefined);
}

async function describe(
  access: PauseAccess,
  { topic, host }: SteeredTarget,
): Promise<PausedQueue | undefined> {
  const queue = topicAddress(topic, host);
  const record = await readPause(access, queue);
  const parked = await access.transport.inspect(parkedAddress(queue), step());
  const { messages: waiting = 0 } = parked ?? {};
  if (record) return { topic, host, ...record, waiting, state: "paused" };
  return waiting > 0 ? { topic, host, waiting, state: "resuming" } : undefined;
}

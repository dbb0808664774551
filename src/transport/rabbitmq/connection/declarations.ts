/** Requests of a channel that declare, check and delete exchanges and queues. @module */
import { AmqpError, type Channel } from "../../../amqp/mod.ts";
import type { Deadline } from "../../../async/deadline.ts";
import { isOfMissing } from "../routes/adoption.ts";
import { missingEntityError } from "../../profile.ts";
import { allOf } from "./request_channel.ts";
import type { QueueState } from "../../transport.ts";
import {
  type Exchange,
  isQuorum,
  type Queue,
  type QueueRoute,
} from "../routes/entities.ts";

/** Check of queues that a broker might not permit. */
export interface QueueCheck {
  /** Resolves when the queue may be declared; undefined for a queue that needs no check. */
  check(queue: Queue, deadline: Deadline): Promise<void> | undefined;
}

/** Queues that this process creates, for which it waits before it uses them. */
export interface QueueCreations {
  /** True if a passive declaration has to tell, before the declaration of a queue, whether the queue exists. */
  needsCheck(queue: Queue): boolean;
  /** Notes that a queue does not exist, and is created next. */
  missing(queue: Queue): void;
  /** Notes that a queue was declared without a check, so that it may have been created. */
  unchecked(queue: Queue): void;
  /**
   * Resolves when queues that were created survive a loss of all nodes.
   *
   * @throws {TimeoutError} that takes longer than until the deadline.
   */
  wait(deadline: Deadline): Promise<void>;
}

/** Options of a topology. */
export interface TopologyOptions {
  /** Maximum of channels for declarations; default 16. */
  readonly maxChannels?: number;
  /** Check of transient queues before they are declared. */
  readonly transientQueues?: QueueCheck;
  /** Record of new queues; undefined if nobody waits for them. */
  readonly newQueues?: QueueCreations | undefined;
}

/** Error text of RabbitMQ for an entity that does not exist; the text for a queue whose node is down is another. */
const MISSING = /\bno (?:queue|exchange) '/;

/**
 * Waits for a passive declaration.
 *
 * @throws {TopologyError} the entity does not exist.
 */
export async function checkExists<T>(
  entity: string,
  check: Promise<T>,
): Promise<T> {
  try {
    return await check;
  } catch (error) {
    const missing = error instanceof AmqpError && error.code === "NOT_FOUND" &&
      MISSING.test(error.message);
    throw missing ? missingEntityError(entity) : error;
  }
}

/** Returns a key for an exchange with its settings. */
export const exchangeKey = ({ name, type, durable, autoDelete }: Exchange) =>
  `${type} ${durable} ${autoDelete} ${name}`;

/** Returns a key for the binding of a queue. */
export const bindingKey = (
  { exchange, queue, key, binding = key }: QueueRoute,
) => `${exchange?.name ?? ""} ${binding} ${queue.name}`;

/** Declares an exchange, or checks a passive one. */
export async function declareExchange(
  channel: Channel,
  { name, type, durable, autoDelete, passive }: Exchange,
): Promise<void> {
  const declared = passive
    ? channel.request("exchange.declare", { exchange: name, passive })
    : channel.request("exchange.declare", {
      exchange: name,
      type,
      durable,
      autoDelete,
    });
  await (passive ? checkExists(`exchange ${name}`, declared) : declared);
}

/** Returns the numbers of messages and consumers of a queue. */
export const checkQueue = (
  channel: Channel,
  queue: string,
): Promise<QueueCounts> =>
  channel.request("queue.declare", { queue, passive: true });

/**
 * Returns the numbers of messages and consumers of a queue. With `form`, its settings are checked, so that its type is known
 * before the queue is removed.
 *
 * @throws {TopologyError} the queue does not exist.
 */
export async function inspectQueue(
  channel: Channel,
  name: string,
  form: Queue | undefined,
): Promise<QueueState> {
  const entity = `queue ${name}`;
  const checked = await checkExists(entity, checkQueue(channel, name));
  const { messageCount, consumerCount } = form
    ? await assertQueue(channel, form)
    : checked;
  return { messages: messageCount, consumers: consumerCount };
}

/** Numbers of messages and consumers of a queue. */
export interface QueueCounts {
  readonly messageCount: number;
  readonly consumerCount: number;
}

/** Declares a queue with its settings. */
export const assertQueue = (
  channel: Channel,
  { name, durable, exclusive, autoDelete, arguments: args }: Queue,
): Promise<QueueCounts> =>
  channel.request("queue.declare", {
    queue: name,
    durable,
    exclusive,
    autoDelete,
    arguments: args,
  });

/**
 * True if a queue that was declared stays until it is deleted by a request. A passive queue belongs to other programs, and
 * each check finds out that it exists.
 */
export const isLasting = (
  { autoDelete, exclusive, unique, passive, arguments: args }: Queue,
): boolean =>
  !autoDelete && !exclusive && !unique && !passive &&
  args["x-expires"] === undefined;

/**
 * True if a queue that was declared and bound is usually still there after a loss of the connection, with its binding, or
 * is gone as a whole.
 */
export const isStable = ({ queue, exchange }: QueueRoute): boolean =>
  queue.durable && !queue.exclusive && !queue.autoDelete && !queue.unique &&
  !queue.passive &&
  (!exchange || exchange.durable && !exchange.autoDelete);

/**
 * Declares a queue, or checks a passive one. A queue that was found in another form is not created in that form again, and
 * one that `newQueues` has to know of only after that has noted it.
 *
 * @throws {TopologyError} a queue that is passive, was found, or is checked for `newQueues` does not exist.
 */
export async function declareQueue(
  channel: Channel,
  queue: Queue,
  newQueues?: QueueCreations,
): Promise<void> {
  const { name, passive, isFound } = queue;
  const isChecked = !passive && newQueues?.needsCheck(queue);
  const check = () => checkExists(`queue ${name}`, checkQueue(channel, name));
  const checking = (passive || isFound || isChecked) && check();
  if (isChecked && checking) {
    checking.catch((error) => {
      if (isOfMissing(error)) newQueues?.missing(queue);
    });
  }
  await allOf([checking, !passive && assertQueue(channel, queue)]);
  if (!passive && !isChecked) newQueues?.unchecked(queue);
}

/**
 * Deletes a queue if it is empty and unused. Quorum queues do not support `if-unused` and `if-empty` (540 closes the
 * connection), so that they are checked first.
 */
export async function removeEmpty(
  channel: Channel,
  queue: Queue,
): Promise<boolean> {
  const { name } = queue;
  if (!isQuorum(queue)) {
    await channel.request("queue.delete", {
      queue: name,
      ifUnused: true,
      ifEmpty: true,
    });
    return true;
  }
  const { messageCount, consumerCount } = await checkQueue(channel, name);
  const empty = messageCount === 0 && consumerCount === 0;
  if (empty) await channel.request("queue.delete", { queue: name });
  return empty;
}

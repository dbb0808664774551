/** Requests of a channel that declare, check and delete exchanges and queues. @module */
import type { Channel, Replies } from "npm:amqplib@2.3.1";
import { missingEntityError } from "../../profile.ts";
import { uniqueName } from "../../../ids.ts";
import type { Exchange, Queue } from "./entities.ts";

/** Error text of RabbitMQ for an entity that does not exist; the text for a queue whose node is down is another. */
const MISSING = /\bno (?:queue|exchange) '/;

/**
 * Waits for a passive declaration.
 *
 * @throws {TopologyError} the entity does not exist.
 */
export async function checkExists(
  entity: string,
  check: PromiseLike<unknown>,
): Promise<void> {
  try {
    await check;
  } catch (error) {
    throw MISSING.test(String(error)) ? missingEntityError(entity) : error;
  }
}

/** Returns a key for an exchange with its settings. */
export const exchangeKey = ({ name, type, durable, autoDelete }: Exchange) =>
  `${type} ${durable} ${autoDelete} ${name}`;

export async function assertExchange(
  channel: Channel,
  { name, type, durable, autoDelete, passive }: Exchange,
): Promise<void> {
  if (passive) {
    return checkExists(`exchange ${name}`, channel.checkExchange(name));
  }
  await channel.assertExchange(name, type, { durable, autoDelete });
}

export function assertQueue(
  channel: Channel,
  { name, durable, exclusive, autoDelete, arguments: args }: Queue,
): PromiseLike<Replies.AssertQueue> {
  const form = { durable, exclusive, autoDelete, arguments: args };
  return channel.assertQueue(name, form);
}

export async function declareQueue(
  channel: Channel,
  queue: Queue,
): Promise<string> {
  const { unique, passive } = queue;
  const name = unique ? uniqueName(queue.name, unique) : queue.name;
  if (passive) await checkExists(`queue ${name}`, channel.checkQueue(name));
  else await assertQueue(channel, { ...queue, name });
  return name;
}

const isQuorum = ({ arguments: { "x-queue-type": type } }: Queue) =>
  type === "quorum";

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
    await channel.deleteQueue(name, { ifUnused: true, ifEmpty: true });
    return true;
  }
  const { messageCount, consumerCount } = await channel.checkQueue(name);
  const empty = messageCount === 0 && consumerCount === 0;
  if (empty) await channel.deleteQueue(name);
  return empty;
}

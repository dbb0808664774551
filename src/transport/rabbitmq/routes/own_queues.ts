/**
 * Queues in Warren's own forms, which are those of the table in `../README.md`. Each states its type, because a virtual host
 * may have another default type.
 *
 * @module
 */
import type { Arguments, Queue, QueueForms } from "./entities.ts";

/** Type with which queues are created, and whether one of another type is used without a warning. */
export type QueueChoice = Pick<QueueForms, "preferred" | "anyType">;

/** Milliseconds without a consumer after which the broker deletes a queue of one process, or of an election. */
const EXPIRES_MS = 60_000;
const EXPIRING = { "x-expires": EXPIRES_MS } as const;

/**
 * Arguments by type. `x-queue-leader-locator` spreads the leaders over the nodes of a cluster; RabbitMQ 3.10 refuses it for
 * classic queues.
 */
const TYPES = {
  classic: { "x-queue-type": "classic" },
  quorum: {
    "x-queue-type": "quorum",
    "x-queue-leader-locator": "balanced",
  },
} as const;

/**
 * Arguments with which a quorum queue moves an expired message only once its target has confirmed it; RabbitMQ permits
 * the strategy only together with that overflow, and not for classic queues.
 */
const AT_LEAST_ONCE = {
  "x-dead-letter-strategy": "at-least-once",
  "x-overflow": "reject-publish",
} as const;

function durable(name: string, args: Arguments): Queue {
  return {
    name,
    durable: true,
    exclusive: false,
    autoDelete: false,
    arguments: args,
  };
}

/** Returns a durable queue that may have either type. */
function ofEitherType(
  name: string,
  choice: QueueChoice,
  common: Arguments = {},
  quorumOnly: Arguments = {},
): Queue {
  const forms: QueueForms = {
    ...choice,
    classic: { ...TYPES.classic, ...common },
    quorum: { ...TYPES.quorum, ...quorumOnly, ...common },
  };
  return { ...durable(name, forms[choice.preferred]), forms };
}

/** Returns a queue that stays until it is deleted: shared by workers, or for dead letters or the quarantine. */
export const lastingQueue = (name: string, choice: QueueChoice): Queue =>
  ofEitherType(name, choice);

/** Returns a queue that moves its messages to the target after `ms` milliseconds. */
export function delayQueue(
  name: string,
  choice: QueueChoice,
  { target, ms }: { readonly target: string; readonly ms: number },
): Queue {
  const delaying = {
    "x-message-ttl": ms,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": target,
  };
  return ofEitherType(name, choice, delaying, AT_LEAST_ONCE);
}

/**
 * Returns the reply queue of a process. It is not exclusive, so that it keeps its name and its messages when the connection
 * is lost.
 */
export const inboxQueue = (name: string, choice: QueueChoice): Queue =>
  ofEitherType(name, choice, EXPIRING);

/** Returns the queue of an election, which delivers its one message to one of its consumers until that one is lost. */
export const electionQueue = (name: string, choice: QueueChoice): Queue =>
  ofEitherType(name, choice, {
    ...EXPIRING,
    "x-single-active-consumer": true,
    "x-max-length": 1,
  });

/**
 * Returns the queue of a lock, which holds no message. Only a classic queue keeps other consumers out while it has an
 * exclusive one.
 */
export const lockQueue = (name: string): Queue => ({
  ...durable(name, { ...TYPES.classic, ...EXPIRING }),
  autoDelete: true,
});

/**
 * Returns the reply queue of one call. It is not exclusive: after a loss that the broker has not noticed yet, an
 * exclusive queue could not be declared again.
 */
export const callQueue = (name: string): Queue => ({
  ...durable(name, { ...TYPES.classic, ...EXPIRING }),
  autoDelete: true,
});

/** Returns a queue that belongs to one connection. RabbitMQ has no exclusive quorum queues. */
export const exclusiveQueue = (name: string): Queue => ({
  name,
  durable: false,
  exclusive: true,
  autoDelete: true,
  arguments: TYPES.classic,
  unique: true,
});

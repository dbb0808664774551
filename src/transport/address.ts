/**
 * Addresses: destinations of messages and queues, in terms that no broker defines. A driver translates each address:
 * RabbitMQ's driver into an exchange, a routing key and a queue.
 *
 * @module
 */

/** A queue that workers share. */
export type QueueAddress =
  /** Any worker of a topic (Nova: `TopicConsumer` on `<topic>`). */
  | { readonly kind: "topic"; readonly topic: string }
  /** The workers of one host (Nova: `TopicConsumer` on `<topic>.<host>`). */
  | { readonly kind: "host"; readonly topic: string; readonly host: string }
  /** The workers of one pool. Every pool of a topic gets a copy of each message (Nova: `create_worker`). */
  | { readonly kind: "pool"; readonly topic: string; readonly pool: string }
  | EventAddress;

/** Notifications of one priority (Nova: `notifications.<priority>`). */
export interface EventAddress {
  readonly kind: "event";
  readonly topic: string;
  /** Priority in lower case. */
  readonly priority: string;
  /** A pool of listeners, which has one queue for all its priorities. */
  readonly pool?: string | undefined;
  /** True for a queue that belongs to one listener and is deleted with it. */
  readonly exclusive?: boolean | undefined;
}

/** A destination of messages, or a queue to consume. */
export type Address =
  | QueueAddress
  /** Every worker of a topic; each has a queue of its own (Nova: `FanoutConsumer`, `<topic>_fanout`). */
  | { readonly kind: "fanout"; readonly topic: string }
  /** A queue that exists already, by its name: for replies and control commands. A driver does not declare it. */
  | DirectAddress
  /** The replies to one call: a queue with the call's name (Folsom `impl_kombu.py`, `DirectConsumer`). */
  | { readonly kind: "callQueue"; readonly call: string }
  /**
   * Messages that return to a queue after `ms` milliseconds. Each delay has a queue of its own, since a broker expires
   * messages in the order of the queue.
   */
  | { readonly kind: "delay"; readonly of: QueueAddress; readonly ms: number }
  /** Messages of a queue that are not retried any more. */
  | { readonly kind: "deadLetter"; readonly of: QueueAddress }
  /** Requests of a queue that may have crashed their workers; they are run one at a time. */
  | { readonly kind: "quarantine"; readonly of: QueueAddress }
  /** The record of a pause: while the queue has it, workers run nothing of the queue that it belongs to. */
  | { readonly kind: "paused"; readonly of: QueueAddress }
  /** Casts of a paused queue, which wait until it is resumed. */
  | { readonly kind: "parked"; readonly of: QueueAddress }
  /**
   * The queue of an election, with a single active consumer, to which the broker delivers all messages while it consumes.
   * The queue holds at most one message.
   */
  | { readonly kind: "leader"; readonly topic: string; readonly task: string }
  /**
   * The queue that services of a host consume while they run. A process that consumes it exclusively may delete the
   * queues of the host. The queue holds no message.
   */
  | {
    readonly kind: "hostLock";
    readonly topic: string;
    readonly host: string;
  };

/** A queue that exists already, by its name. */
export interface DirectAddress {
  readonly kind: "direct";
  /** Name of the queue. */
  readonly queue: string;
}

/** Creates the address of a queue that exists already. */
export function direct(queue: string): DirectAddress {
  return { kind: "direct", queue };
}

/** Creates the address of a topic, or of one host of a topic. */
export function topicAddress(
  topic: string,
  host: string | undefined,
): QueueAddress {
  return host === undefined
    ? { kind: "topic", topic }
    : { kind: "host", topic, host };
}

/**
 * Returns the name of a topic's queue, as Nova names it: `<topic>` for all workers, `<topic>.<host>` for one host.
 * @category Nova's low-level steps
 */
export function queueFor(topic: string, host?: string): string {
  return host === undefined ? topic : `${topic}.${host}`;
}

/** Returns the name of the queue of an address; for a queue of one process, the part before the unique suffix. */
export function queueName(address: Address): string {
  switch (address.kind) {
    case "topic":
      return address.topic;
    case "host":
      return queueFor(address.topic, address.host);
    case "pool":
      return address.pool;
    case "event":
      return address.pool ?? eventQueue(address);
    case "fanout":
      return `${address.topic}_fanout`;
    case "direct":
      return address.queue;
    case "callQueue":
      return address.call;
    case "leader":
      return `${address.topic}.leader.${address.task}`;
    case "hostLock":
      return `${queueFor(address.topic, address.host)}.leader.warren.host`;
    default:
      return derivedName(address);
  }
}

function eventQueue(
  { topic, priority, exclusive }: EventAddress,
): string {
  const name = `${topic}.${priority}`;
  return exclusive ? `${name}_listener` : name;
}

/** The suffixes are reserved: see `RESERVED_SUFFIX` in `names.ts`. */
function derivedName(
  address: Extract<Address, { readonly of: QueueAddress }>,
): string {
  const name = queueName(address.of);
  if (address.kind === "delay") return `${name}.delay.${address.ms}`;
  return address.kind === "deadLetter"
    ? `${name}.dead`
    : `${name}.${address.kind}`;
}

/** Returns the routing key for an address: every queue that is bound with it gets a copy. */
export function publishKey(address: Address): string {
  switch (address.kind) {
    case "pool":
      return address.topic;
    case "event":
      return `${address.topic}.${address.priority}`;
    default:
      return queueName(address);
  }
}

/**
 * Addresses: where messages go and where they wait, in words that any broker can follow. A driver makes of an address what
 * its broker has: RabbitMQ an exchange, a routing key and a queue.
 *
 * @module
 */

/** A queue that workers share. */
export type QueueAddress =
  /** Any worker of a topic (Nova: `TopicConsumer` on `<topic>`). */
  | { readonly kind: "topic"; readonly topic: string }
  /** The workers of one host (Nova: `TopicConsumer` on `<topic>.<host>`). */
  | { readonly kind: "host"; readonly topic: string; readonly host: string }
  /** A pool, which gets a copy of each message of its topic (Nova: `create_worker`). */
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
  /** True for a queue that belongs to one listener and goes with it. */
  readonly exclusive?: boolean | undefined;
}

/** A destination of messages, or a queue to consume. */
export type Address =
  | QueueAddress
  /** Every worker of a topic; each has a queue of its own (Nova: `FanoutConsumer`, `<topic>_fanout`). */
  | { readonly kind: "fanout"; readonly topic: string }
  /** A queue by its name alone, which exists already: replies and control commands. It is not declared. */
  | DirectAddress
  /** The replies to one call: a queue with the call's name (Folsom `impl_kombu.py`, `DirectConsumer`). */
  | { readonly kind: "callQueue"; readonly call: string }
  /** Messages that go back to a queue after `ms` milliseconds: one queue for each delay, since a queue is served in order. */
  | { readonly kind: "delay"; readonly of: QueueAddress; readonly ms: number }
  /** Messages of a queue that were given up. */
  | { readonly kind: "deadLetter"; readonly of: QueueAddress }
  /** Requests of a queue that may be what ended their workers: they are run one at a time. */
  | { readonly kind: "quarantine"; readonly of: QueueAddress }
  /** The queue whose only consumer leads a topic's workers in a task; it holds no message. */
  | { readonly kind: "leader"; readonly topic: string; readonly task: string }
  /**
   * The queue that services of a host consume while they run. Its only consumer may remove the queues of the host. It holds
   * no message.
   */
  | {
    readonly kind: "hostLock";
    readonly topic: string;
    readonly host: string;
  };

/** A queue by its name alone. */
export interface DirectAddress {
  readonly kind: "direct";
  /** Name of the queue. */
  readonly queue: string;
}

/** The address of a queue by its name alone. */
export function direct(queue: string): DirectAddress {
  return { kind: "direct", queue };
}

/** The address of a topic, or of one host of it. */
export function topicAddress(
  topic: string,
  host: string | undefined,
): QueueAddress {
  return host === undefined
    ? { kind: "topic", topic }
    : { kind: "host", topic, host };
}

/**
 * Name of a topic's queue, as Nova names it: `<topic>` for all workers, `<topic>.<host>` for one host.
 * @category Nova's low-level steps
 */
export function queueFor(topic: string, host?: string): string {
  return host === undefined ? topic : `${topic}.${host}`;
}

/** Name of the queue of an address. For queues of one process, the part before a unique suffix. */
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
  return address.kind === "deadLetter" ? `${name}.dead` : `${name}.quarantine`;
}

/** The key under which an address is published: every queue that is bound to it gets a copy. */
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

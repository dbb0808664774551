/** Where messages go: the exchanges and queues of Nova's consumers and publishers, as a table of rows. @module */
import { TopologyError } from "../errors.ts";

/** An exchange as it is declared. */
export interface Exchange {
  /** Name. */
  readonly name: string;
  /** Kind of routing. */
  readonly type: "topic" | "fanout" | "direct";
  /** Outlives the broker. */
  readonly durable: boolean;
  /** Goes with its last binding. */
  readonly autoDelete: boolean;
  /** It is taken as it is (AMQP: `passive`), and is never made. */
  readonly passive?: true;
}

/** A queue as it is declared. */
export interface Queue {
  /** Name. With `fresh`, the part before a suffix that is new each time the queue is declared. */
  readonly name: string;
  /** Outlives the broker. */
  readonly durable: boolean;
  /** Only for the connection that declared it, and gone with it. */
  readonly exclusive: boolean;
  /** Goes with its last consumer. */
  readonly autoDelete: boolean;
  /** `x-…` arguments. */
  readonly arguments: Readonly<Record<string, string | number | boolean>>;
  /**
   * For a queue of one process alone: a new name each time, so that an old one can never be in the way. A text stands in the
   * name before a number, in place of random characters.
   */
  readonly fresh?: true | string | undefined;
  /** It keeps its name when it is restored, and is removed with its consumer. */
  readonly temporary?: boolean;
  /** It is taken as it is (AMQP: `passive`), with the bindings that it has; it is never made. */
  readonly passive?: true;
}

/** A row: how a message is routed, and where it waits. */
export interface Route {
  /** Exchange; undefined is the broker's default one, whose key is the queue's name. */
  readonly exchange?: Exchange;
  /** Routing key of a message, and of the queue's binding. */
  readonly key: string;
  /** Key of the queue's binding where it differs from `key`. */
  readonly binding?: string;
  /** Queue of a consumer; a publisher needs it only where it has to exist first. */
  readonly queue?: Queue;
}

/** The error for what is taken as it is, and does not exist; `entity` is its kind and its name. */
export function missing(entity: string): TopologyError {
  return new TopologyError(
    `Cannot take ${entity} as it is: it does not exist; let whoever makes the queues of this bus make it, or give the profile declare: "active"`,
    { data: { entity, replyCode: 404 } },
  );
}

/** The rows of a profile. */
export interface Routes {
  /** Any worker of a topic (Nova: TopicConsumer on `<topic>`). */
  topic(topic: string): Route;
  /** One host of a topic (Nova: TopicConsumer on `<topic>.<host>`). */
  host(topic: string, host: string): Route;
  /** Every worker of a topic (Nova: FanoutConsumer, `<topic>_fanout`). */
  fanout(topic: string): Route;
  /** A pool that gets a copy of each message of a topic (Nova: `create_worker`). */
  pool(topic: string, pool: string): Route;
  /** Events of one priority (Nova: NotifyPublisher, `notifications.<priority>`). */
  notify(topic: string, priority: string): Route;
  /** The private inbox of a link (Nova: DirectConsumer). */
  inbox(name: string): Route;
}

/** A queue by its name alone, through the default exchange: replies and controls. */
export function direct(queue: string): Route {
  return { key: queue };
}

/**
 * A durable queue that the broker removes when nobody has consumed it for a minute; not exclusive, so that its name and
 * what is in it outlive a lost connection.
 */
export function transientQueue(name: string): Route {
  const queue: Queue = {
    name,
    durable: true,
    exclusive: false,
    autoDelete: false,
    arguments: { "x-expires": 60_000 },
  };
  return { key: name, queue };
}

/** The queue whose only consumer leads the fleet in a task; it holds no message. */
export function leaderQueue(topic: string, task: string): Route {
  return transientQueue(`${topic}.leader.${task}`);
}

/**
 * The queue that services of a host consume while they start. Who consumes it alone may remove the queues of the host. It holds
 * no message.
 */
export function hostLock(topic: string, host: string): Route {
  const route = leaderQueue(queueFor(topic, host), "warren.host");
  const { queue } = route;
  return queue ? { ...route, queue: { ...queue, autoDelete: true } } : route;
}

/** Nova's name of a topic's queue: `<topic>` for all workers, `<topic>.<host>` for one host. */
export function queueFor(topic: string, host?: string): string {
  return host === undefined ? topic : `${topic}.${host}`;
}

/** The topic and host that a request is for, as its header says them. A name has no slash, so no two pairs look the same. */
export function addressOf(topic: string, host?: string): string {
  return host === undefined ? topic : `${topic}/${host}`;
}

/** An exchange of one queue by the name of both: where peers answer that know no other way (Grizzly, Folsom). */
export function replyExchange(name: string): Exchange {
  return { name, type: "direct", durable: false, autoDelete: true };
}

/**
 * The queue for the answers of one call, which has its name (Folsom `impl_kombu.py`, DirectConsumer). Not exclusive, as there:
 * after a loss that the broker has not noticed yet, it could not be declared again.
 */
export function callQueue(call: string): Route {
  const queue: Queue = {
    name: call,
    durable: false,
    exclusive: false,
    autoDelete: true,
    arguments: {},
  };
  return { exchange: replyExchange(call), key: call, queue };
}

/** A queue beside another, of the same kind. */
function derivedQueue({ name, arguments: args }: Queue, part: string): Queue {
  const type = args["x-queue-type"];
  return {
    name: `${name}.${part}`,
    durable: true,
    exclusive: false,
    autoDelete: false,
    arguments: type === undefined ? {} : { "x-queue-type": type },
  };
}

/** Where what failed waits before it goes back to its queue: one queue for each time, since a queue is served in order. */
export function delayQueue(queue: Queue, ms: number): Route {
  const delay = derivedQueue(queue, `delay.${ms}`);
  const args = {
    ...delay.arguments,
    "x-message-ttl": ms,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": queue.name,
  };
  return { key: delay.name, queue: { ...delay, arguments: args } };
}

/** Where what cannot be handled is kept for whoever looks after it. */
export function deadLetterQueue(queue: Queue): Route {
  const letters = derivedQueue(queue, "dead");
  return { key: letters.name, queue: letters };
}

/** Where what workers did not finish is handled one at a time: it may be what ended them. */
export function quarantineQueue(queue: Queue): Route {
  const apart = derivedQueue(queue, "quarantine");
  return { key: apart.name, queue: apart };
}

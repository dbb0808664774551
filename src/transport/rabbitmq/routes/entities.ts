/** Exchanges, queues and routes, as data: the AMQP entities that the driver declares. @module */

/** An exchange as it is declared. */
export interface Exchange {
  readonly name: string;
  readonly type: "topic" | "fanout" | "direct";
  readonly durable: boolean;
  /** True if the broker deletes the exchange with its last binding. */
  readonly autoDelete: boolean;
  /** Set if the exchange is only checked by a passive declaration, and never created. */
  readonly passive?: true;
}

/** Types of queues that keep messages. */
export type QueueType = "classic" | "quorum";

/** `x-…` arguments of a queue. */
export type Arguments = Readonly<Record<string, string | number | boolean>>;

/** Arguments of a queue for each type that it may have. */
export interface QueueForms extends Readonly<Record<QueueType, Arguments>> {
  /** Type with which the queue is created. */
  readonly preferred: QueueType;
  /** True if nobody has chosen the type, so that a queue of the other type is used without a warning. */
  readonly anyType?: boolean;
}

/** A queue as it is declared. */
export interface Queue {
  /** Name of the queue. With `unique`, the part before a suffix that is new each time the queue is declared. */
  readonly name: string;
  readonly durable: boolean;
  /** True if the queue belongs to the connection that declared it, and is deleted with it. */
  readonly exclusive: boolean;
  /** True if the broker deletes the queue with its last consumer. */
  readonly autoDelete: boolean;
  /** `x-…` arguments. */
  readonly arguments: Arguments;
  /** Forms of a queue that is used as it is, whichever of them it has. */
  readonly forms?: QueueForms;
  /** Set if `arguments` are those that the queue was found with, and not those with which it is created. */
  readonly isFound?: boolean;
  /**
   * Set if a queue of one process gets a new name each time, so that it cannot collide with an old queue. A text is put
   * into the name before a counter, instead of random characters.
   */
  readonly unique?: true | string | undefined;
  /** True if the queue keeps its name when it is restored after a loss, and is deleted when its consumer is cancelled. */
  readonly temporary?: boolean;
  /** Set if the queue is only checked by a passive declaration, with its existing bindings, and never created. */
  readonly passive?: true;
}

/** Route of a message, and the queue that it reaches. */
export interface Route {
  /** Exchange; undefined = the default exchange, whose routing key is the name of the queue. */
  readonly exchange?: Exchange;
  /** Routing key of messages, and of the binding of the queue. */
  readonly key: string;
  /** Routing key of the binding if it differs from `key`. */
  readonly binding?: string;
  /** Queue of the address; undefined for a queue that is known by its name only. */
  readonly queue?: Queue;
}

/** A route whose queue is consumed. */
export type QueueRoute = Route & { readonly queue: Queue };

/** True for a quorum queue. */
export const isQuorum = (
  { arguments: { "x-queue-type": type } }: Queue,
): boolean => type === "quorum";

/** Transports and sessions: the two interfaces between RPC and a broker, which every driver implements. @module */
import type { Deadline } from "../async/deadline.ts";
import type { BodyLimit } from "./oversized_body.ts";
import type { Address, QueueAddress } from "./address.ts";
import type { BrowseOptions } from "./browsing.ts";
import type { Destination } from "./destination.ts";
import type {
  QueueState,
  TransportEvent,
  TransportHealth,
} from "./transport_health.ts";

export type { BrowseOptions, MessageHead, Need } from "./browsing.ts";
export type { Credentials, TlsOptions } from "./credentials.ts";
export type { BodyLimit, Deadline, QueueState, TransportEvent };

/** Message as a driver sends and receives it: a body, headers and the properties that brokers act on. */
export interface Message {
  /** Body. */
  readonly body: Uint8Array;
  /** Headers; only own keys count. Headers that the broker or a peer added may hold tables and arrays too. */
  readonly headers: Readonly<Record<string, unknown>>;
  /** `message_id`. Copies of one message share it; no other message has it. */
  readonly messageId?: string | undefined;
  /** `correlation_id`: id of the call that the message belongs to. */
  readonly correlationId?: string | undefined;
  /** `reply_to`: name of the queue to which the receiver replies. */
  readonly replyTo?: string | undefined;
  /** Milliseconds that the message may wait in a queue; undefined = no limit. */
  readonly expiration?: number | undefined;
  /** True if a durable queue writes the message to disk; default false. */
  readonly persistent?: boolean | undefined;
  /**
   * True if a message that reaches no queue is returned: `publish` throws `NoRouteError`, `send` calls
   * `InboxListener.onReturned`. Default false: the broker drops such a message silently.
   */
  readonly mandatory?: boolean | undefined;
  /**
   * Properties and headers as AMQP encoded them, on a received message; undefined if the driver does not use AMQP. They
   * are never sent.
   */
  readonly encodedProperties?: Uint8Array | undefined;
  /**
   * Reason why headers or properties of a received message could not be decoded, without quoting them; the fields are
   * then missing.
   */
  readonly unreadable?: string | undefined;
  /**
   * Length of the body in bytes if the body exceeds the limit of the consumer. On a received message, `body` may then
   * hold only the beginning and the end of the body, joined; see `BodyLimit`. A message that is sent with this field is
   * streamed in chunks on a channel of its own, so that its body is not copied.
   */
  readonly oversized?: number | undefined;
}

/** Message that waits for `ack` or `reject`. Settling a delivery twice, or after its channel is closed, does nothing. */
export interface Delivery {
  /** The message. */
  readonly message: Message;
  /** Routing key with which the message was published. */
  readonly key: string;
  /** True if the broker may have delivered the message before. */
  readonly redelivered: boolean;
  /**
   * Number of earlier deliveries of the message; undefined if the broker does not count them, so that the worker has
   * to.
   */
  readonly deliveryCount?: number | undefined;
  /** True once the channel of the delivery is closed: the broker has requeued the message. */
  readonly lost: boolean;
  /**
   * Stops counting the delivery against the prefetch of its consumer until disposed, because the delivery waits for
   * something other than its handler, e.g. for a delay. At most 1000 deliveries and 64 MiB of bodies are exempt in a
   * connection context; above that, `evict` is called on the delivery that has been exempt for the longest time, which
   * then has to be settled.
   */
  exemptFromPrefetch(evict: () => void): Disposable;
  /**
   * Acknowledges the message, so that the queue deletes it. With `lazy`, the acknowledgement is sent up to 100
   * milliseconds later together with others, which is cheaper; consumers with a small prefetch must not use it.
   */
  ack(options?: AckOptions): void;
  /** Rejects the message. The broker requeues it, or drops it (a policy may dead-letter it). */
  reject(requeue: boolean): void;
}

/** Options of a declaration. */
export interface DeclareOptions {
  /** False if the queue is created without its binding, so that only messages to its name reach it; default true. */
  readonly bind?: boolean;
}

/** Options of a session. */
export interface SessionOptions {
  /**
   * False to open the session before the broker is reached: its operations then wait for the connection, until their
   * own deadlines. Default true.
   */
  readonly connected?: boolean;
}

/** Options of an acknowledgement. */
export interface AckOptions {
  /** True if the acknowledgement may be sent up to 100 milliseconds later; default false. */
  readonly lazy?: boolean;
}

/** Options of a consumer. */
export interface ConsumeOptions {
  /** Maximum number of unacknowledged deliveries; 0 = no limit. */
  readonly prefetch: number;
  /**
   * True if no other consumer may consume the queue; default false. An exclusive consumer is not restored after a loss,
   * since another process may be the exclusive consumer by then.
   */
  readonly exclusive?: boolean;
  /** False if the consumer ends with a loss instead of being restored; default true, unless it is exclusive. */
  readonly restore?: boolean;
  /**
   * True if the consumer is optional: if the broker refuses to restore it after a loss, the driver logs that and
   * continues. Default false: the transport fails.
   */
  readonly optional?: boolean;
  /** Limit on the size of bodies; default: no limit. */
  readonly limit?: BodyLimit | undefined;
}

/** Consumer that the driver restores after every loss until it is cancelled, unless it is exclusive or `restore` is false. */
export interface Consumer {
  /** Resolves when the consumer has ended: cancelled, disposed, or lost and not restored. */
  readonly ended: Promise<void>;
  /**
   * Stops deliveries; deliveries that have arrived can still be settled until the session is disposed. Resolves with the
   * reply of the broker, or without it after 5000 ms, or at the deadline (milliseconds of `performance.now()`) if that
   * is sooner.
   */
  cancel(deadline?: number): Promise<void>;
}

/**
 * Channels of one connection context on the transport of the process. Every promise settles by its deadline, also while
 * the broker is unreachable. Disposal closes the channels, and the broker requeues unacknowledged messages.
 */
export interface Session extends AsyncDisposable {
  /**
   * Creates the queue of an address, and the binding by which messages reach it.
   *
   * @throws {TopologyError} the queue exists with other settings, or the user lacks the permission.
   */
  declare(
    address: Address,
    deadline: Deadline,
    options?: DeclareOptions,
  ): Promise<void>;
  /**
   * Publishes a message and resolves when the broker has confirmed it. After a lost connection the message is published
   * again with the same `messageId`. Waits while too many messages are unconfirmed.
   *
   * @throws {NoRouteError} the message is mandatory, and reaches no queue.
   * @throws {RejectedError} the broker rejected the message; `data.reason` is `content` if because of its content.
   * @throws {BlockedError} the broker accepted no messages until the deadline.
   * @throws {UnconfirmedError} the message was sent, and not confirmed by the deadline: it may have arrived.
   */
  publish(
    address: Address,
    message: Message,
    deadline: Deadline,
  ): Promise<void>;
  /**
   * Sends a message without waiting for a confirmation. Resolves when the bytes are written to the connection; for a body
   * of more than 16 KiB that is larger than all that the broker has accepted before, when it has accepted it. A mandatory message that
   * reaches no queue is returned to the listener of the inbox.
   *
   * @throws {RejectedError} the message is larger than the broker accepts; messages behind it are sent again.
   */
  send(address: Address, message: Message, deadline: Deadline): Promise<void>;
  /**
   * Declares the queue of an address and consumes it; `onDelivery` must not throw.
   *
   * @throws {TopologyError} the broker refuses the consumer; `data.reason` is `inUse` if the queue has an exclusive
   * consumer.
   * @throws {TimeoutError} the consumer did not start by the deadline; `data.reason` is `unavailable` if the node of the
   * queue is down.
   */
  consume(
    address: Address,
    onDelivery: (delivery: Delivery) => void,
    options: ConsumeOptions,
    deadline: Deadline,
  ): Promise<Consumer>;
  /**
   * Resolves when the broker has processed every acknowledgement sent before, so that a lost connection cannot undo
   * them.
   */
  flush(deadline: Deadline): Promise<void>;
  /**
   * Resolves when the queues that this process has created survive the loss of all nodes of a cluster, some seconds later.
   *
   * @throws {TimeoutError} they survive it only after the deadline.
   */
  waitForNewQueues(deadline: Deadline): Promise<void>;
  /** Removes the binding of a queue, so that messages published to its address no longer reach the queue. */
  unbind(address: QueueAddress, deadline: Deadline): Promise<void>;
  /**
   * Deletes a queue that has no ready message and no consumer. Returns false, and deletes nothing, if the queue has one.
   */
  removeEmpty(address: Address, deadline: Deadline): Promise<boolean>;
  /** Kind of the broker for telemetry, e.g. `rabbitmq`. */
  readonly system: string;
  /** Returns the names of an address and of its broker for telemetry. */
  destination(address: Address): Destination;
  /**
   * Begins to look at the messages of a queue, which stay where they are; declares nothing. Undefined if the queue does
   * not exist.
   *
   * @throws {TopologyError} the queue has a consumer, which may be another look that gets a part of the messages
   * (`data.reason` is `inUse`), or it may not be read.
   * @throws {RpcError} there is no connection, or no reply by the deadline.
   */
  browse(
    address: Address,
    options: BrowseOptions,
    deadline: Deadline,
  ): Promise<Browser | undefined>;
}

/** A look at the messages of a queue, on a channel of its own. The messages that were delivered are hidden from others. */
export interface Browser {
  /** Number of ready messages at the beginning. */
  readonly messages: number;
  /**
   * Returns the next messages in the order of the queue, as far as they are needed; undefined once all were delivered
   * that were ready at the beginning. They stay unsettled until they are acknowledged, or until `close`.
   *
   * @throws {ConnectionFailedError} the channel is lost: the broker has requeued the messages.
   */
  read(): Promise<readonly Delivery[] | undefined>;
  /**
   * Returns all unsettled messages to their places in the queue, and processes the acknowledgements. Resolves when the
   * broker has done so; false if the channel was lost, so that acknowledgements may be undone.
   */
  close(): Promise<boolean>;
}

/** Listener of the inbox: the reply queue of the process. */
export interface InboxListener {
  /**
   * Maximum length of a body in bytes; of a larger body, only the beginning and the end are delivered. Default: no
   * limit.
   */
  readonly limit?: number;
  /** Called with each message of the inbox; must not throw. */
  onDelivery(delivery: Delivery): void;
  /** Called with each mandatory message that `Session.send` sent and that reached no queue. */
  onReturned(message: Message): void;
}

/**
 * Driver for one broker or cluster, shared by all sessions of the process. A transport reconnects by itself, and is
 * closed with its last session.
 */
export interface Transport extends AsyncDisposable {
  /** Opens a session for one connection context. */
  openSession(deadline: Deadline, options?: SessionOptions): Promise<Session>;
  /** Name of the inbox: the reply queue of the process. */
  readonly inbox: string;
  /** Starts to consume the inbox on a channel of its own; a second call waits for the first. */
  startInbox(listener: InboxListener, deadline: Deadline): Promise<void>;
  /**
   * Returns the numbers of messages and consumers of a queue; undefined if the queue does not exist.
   *
   * @throws {TopologyError} the queue exists with other settings (`data.reason` is `inequivalent`), or is exclusive to
   * another connection (`inUse`).
   * @throws {RpcError} there is no connection, or no reply by the deadline.
   */
  inspect(
    address: Address,
    deadline: Deadline,
  ): Promise<QueueState | undefined>;
  /**
   * True if the broker requeues a delivery from a queue that is not acknowledged within its limit of time (RabbitMQ:
   * `consumer_timeout`); false only if it is known that it does not.
   */
  limitsDeliveryTime(address: QueueAddress): boolean;
  /** Calls `listener` with every change of state, until disposed. */
  onEvent(listener: (event: TransportEvent) => void): Disposable;
  /** Health of both connections. */
  health(): TransportHealth;
  /** Keeps the process alive while the transport is open, which is the default. */
  ref(): void;
  /** Lets the process exit while the transport is open; the connections stay open. */
  unref(): void;
}

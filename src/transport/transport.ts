/** The seam between calls and bytes: what every transport does, and what it promises. @module */
import type { Deadline } from "../async/deadline.ts";
import type { BodyLimit } from "./oversized_body.ts";
import type { Address, QueueAddress } from "./address.ts";

export type { BodyLimit, Deadline };

/** Bytes with what the broker needs to know of them. */
export interface Message {
  /** Body. */
  readonly body: Uint8Array;
  /** Headers, own keys only. What the broker or a peer added may hold tables and arrays too. */
  readonly headers: Readonly<Record<string, unknown>>;
  /** `message_id`: tells copies of one message from another message. */
  readonly messageId?: string | undefined;
  /** `correlation_id`: the call that the message belongs to. */
  readonly correlationId?: string | undefined;
  /** `reply_to`: the queue of the sender. */
  readonly replyTo?: string | undefined;
  /** Milliseconds that it may wait in a queue; undefined = for ever. */
  readonly expiration?: number | undefined;
  /** Written to disk by a durable queue. */
  readonly persistent?: boolean | undefined;
  /** Refused with `NoRouteError` where no queue takes it; else silently dropped there. */
  readonly mandatory?: boolean | undefined;
  /** Its properties and headers in AMQP's bytes, as they came; undefined where no broker sent them. Never sent. */
  readonly properties?: Uint8Array | undefined;
  /** Why its headers or other properties could not be read, without their content: those are missing. Only where it arrives. */
  readonly unreadable?: string | undefined;
  /**
   * Bytes of a body that is larger than the consumer's limit. Where it arrives: `body` may be its beginning and its end, put
   * together, see `BodyLimit`. Where it is sent: it goes in pieces on a channel of its own, so that it is not copied.
   */
  readonly oversized?: number | undefined;
}

/** A message that waits for its acknowledgement. Settling it twice, or after its channel is gone, does nothing. */
export interface Delivery {
  /** What came. */
  readonly message: Message;
  /** The routing key that it came with. */
  readonly key: string;
  /** The broker may have delivered it before. */
  readonly redelivered: boolean;
  /** Earlier deliveries as the broker counts them; undefined where it does not count, so that the worker must. */
  readonly deliveryCount?: number | undefined;
  /** True once its channel is gone: the broker has put the message back into its queue. */
  readonly lost: boolean;
  /**
   * It waits for something else than its consumer, until disposed. Meanwhile another may take its place in the prefetch, as
   * long as no more than 1000 messages and 64 MiB wait so in a connection context; of more, the one that has waited longest
   * is told by `evict` that its place is needed.
   */
  waits(evict: () => void): Disposable;
  /**
   * Done: the queue forgets the message. `lazy`: sent some milliseconds later together with others, which is cheaper; not for
   * consumers with a small prefetch.
   */
  ack(options?: AckOptions): void;
  /** Not done: back into the queue, or dropped (dead-lettered where a policy says so). */
  reject(requeue: boolean): void;
}

/** Options of a declaration. */
export interface DeclareOptions {
  /** False if the queue is created without its binding, so that only messages to its name reach it; default true. */
  readonly bind?: boolean;
}

/** Options of an acknowledgement. */
export interface AckOptions {
  /** True if it may be sent some milliseconds later; default false. */
  readonly lazy?: boolean;
}

/** How to consume. */
export interface ConsumeOptions {
  /** Unacknowledged deliveries at most; 0 = any number. */
  readonly prefetch: number;
  /** The only consumer of its queue. It is not restored after a loss: another may be the only one by then. */
  readonly exclusive?: boolean;
  /** Its consumer can be done without: where the broker refuses it after a loss, it is not restored, and the link goes on. */
  readonly optional?: boolean;
  /** Bodies that are too large for it; default: none is. */
  readonly limit?: BodyLimit | undefined;
}

/** A consumer that is restored after every loss until it is cancelled; an exclusive one is not. */
export interface Consumer {
  /** Resolves when it consumes no more: cancelled, disposed, or lost where it is not restored. */
  readonly ended: Promise<void>;
  /**
   * Takes no more; what it has stays with it until settled or until the transport is disposed. Resolves with the broker's
   * answer, or without one after 5000 ms, or at the deadline (milliseconds of `performance.now()`) if that is sooner.
   */
  cancel(deadline?: number): Promise<void>;
}

/**
 * Channels of one connection context, leased on the process's link.
 *
 * Every promise settles by the deadline of its `Wait`, also while the broker is away. Disposal gives back or closes the
 * channels: what is unacknowledged goes back to its queue.
 */
export interface Session extends AsyncDisposable {
  /**
   * Creates what the address needs: its queue, and the binding by which messages reach it.
   *
   * @throws {TopologyError} it exists in another form, or the user lacks the permission.
   */
  declare(
    address: Address,
    deadline: Deadline,
    options?: DeclareOptions,
  ): Promise<void>;
  /**
   * Publishes, and resolves when the broker has confirmed. After a lost connection the message is published again with the
   * same `messageId`. Waits while too much is published and not confirmed.
   *
   * @throws {NoRouteError} mandatory, and no queue takes it.
   * @throws {RejectedError} the broker refused it; `data.reason` is `content` if it was refused for what it holds.
   * @throws {BlockedError} the broker took nothing until the deadline.
   * @throws {UnconfirmedError} sent, and not confirmed by the deadline: in doubt.
   */
  publish(
    address: Address,
    message: Message,
    deadline: Deadline,
  ): Promise<void>;
  /**
   * Sends without waiting for the broker: a mandatory message that no queue takes comes back to the inbox listener. Resolves
   * when the bytes are handed to the connection.
   */
  send(address: Address, message: Message, deadline: Deadline): Promise<void>;
  /**
   * Declares the address and consumes its queue; `onDelivery` must not throw.
   *
   * @throws {TopologyError} the broker refuses it; `data.reason` is `inUse` if another consumer is the only one.
   */
  consume(
    address: Address,
    onDelivery: (delivery: Delivery) => void,
    options: ConsumeOptions,
    deadline: Deadline,
  ): Promise<Consumer>;
  /**
   * Resolves when the broker has received every acknowledgement that was sent so far: the loss of this connection cannot undo
   * them any more.
   */
  flush(deadline: Deadline): Promise<void>;
  /** Removes the binding of a queue: what is published to its address reaches it no more. */
  unbind(address: QueueAddress, deadline: Deadline): Promise<void>;
  /** Deletes a queue that has no ready message and no consumer; false if it has one. */
  removeEmpty(address: Address, deadline: Deadline): Promise<boolean>;
}

/** A queue as the broker reports it. */
export interface QueueState {
  /** Ready messages; those that are delivered and not acknowledged are not counted. */
  readonly messages: number;
  /** Consumers. */
  readonly consumers: number;
}

/** What a link tells of itself. */
export type TransportEvent =
  | { readonly type: "connected" }
  | {
    readonly type: "disconnected" | "blocked" | "failed";
    readonly reason: string;
    readonly error?: Error;
  }
  | { readonly type: "unblocked" };

/** Who reads the private inbox of a link. */
export interface InboxListener {
  /** Bytes of a body at most; of a larger one, the beginning and the end come. Default: no limit. */
  readonly limit?: number;
  /** A message came to the inbox. It must not throw. */
  onDelivery(delivery: Delivery): void;
  /** A mandatory message that was posted found no queue. */
  onReturned(message: Message): void;
}

/**
 * The process's way to one broker (or one cluster): shared by all its transports, kept up by itself, closed with the
 * last of them.
 */
export interface Transport extends AsyncDisposable {
  /** New channels for one connection context. */
  openSession(deadline: Deadline): Promise<Session>;
  /** Name of the private inbox. */
  readonly inbox: string;
  /** Reads the inbox from now on, on a channel of its own; the second call waits for the first. */
  startInbox(reader: InboxListener, deadline: Deadline): Promise<void>;
  /**
   * Messages that wait in a queue, and its consumers; undefined if the queue does not exist. Hurts no channel that others use.
   *
   * @throws {TopologyError} the queue exists in another form (`data.reason` is `inequivalent`), or belongs to another
   * connection (`inUse`).
   * @throws {RpcError} there is no connection, or no answer by the deadline.
   */
  inspect(
    address: Address,
    deadline: Deadline,
  ): Promise<QueueState | undefined>;
  /** Tells of losses and returns, until disposed. */
  onEvent(watcher: (event: TransportEvent) => void): Disposable;
  /** How both connections are now, and what was last proven of them. */
  health(): TransportHealth;
  /** Keeps the process alive, as at first. */
  ref(): void;
  /** Stays connected, but keeps no process alive. */
  unref(): void;
}

/**
 * TLS settings of `amqps:` URLs. Certificates are always verified.
 * @category Connections
 */
export interface TlsOptions {
  /** Certificates of the authorities to trust, PEM; default: the runtime's own. */
  readonly ca?: string | undefined;
  /** The client's certificate, PEM. */
  readonly cert?: string | undefined;
  /** The client's key, PEM. */
  readonly key?: string | undefined;
  /** Name that the broker's certificate must have; default: the host of the URL. */
  readonly servername?: string | undefined;
}

/**
 * Whom a connection logs in as.
 * @category Connections
 */
export interface Credentials {
  /** Name of the user. */
  readonly username: string;
  /** Password, or whatever else the broker takes in its place, e.g. a token. */
  readonly password: string;
  /**
   * When the broker stops to accept them, in milliseconds since 1970 (`Date.now()`); default: never. An open connection gets
   * new ones before.
   */
  readonly expires?: number | undefined;
}

/**
 * `blocked`: the broker takes no messages from this side. `recovering`: not connected yet or not again, or a consumer is
 * still missing. `failed`: given up.
 * @category Connections
 */
export type ConnectionState = "up" | "blocked" | "recovering" | "failed";

/**
 * One of the two connections of a link.
 * @category Connections
 */
export interface ConnectionHealth {
  /** How it is now. */
  readonly state: ConnectionState;
  /** Since when it has been so. */
  readonly since: Date;
  /**
   * When the broker last proved that it works. Publishing: by the confirm of a message, or a probe that came through;
   * consuming: by a delivery, the start of a consumer, or a probe.
   */
  readonly lastProof: Date | undefined;
  /** How often the connection was lost. */
  readonly losses: number;
}

/**
 * The connection that consumes.
 * @category Connections
 */
export interface ConsumingHealth extends ConnectionHealth {
  /** Consumers that there should be, and those that consume on the connection as it is now. */
  readonly consumers: { readonly wanted: number; readonly consuming: number };
}

/**
 * Both connections of a link.
 * @category Connections
 */
export interface TransportHealth {
  /** The one that sends. */
  readonly publishing: ConnectionHealth;
  /** The one that receives. */
  readonly consuming: ConsumingHealth;
  /** Deliveries that were settled after their channel was gone: the broker delivers them again. */
  readonly stale: number;
}

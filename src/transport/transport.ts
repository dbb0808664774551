/** The seam between calls and bytes: what every transport does, and what it promises. @module */
import type { Deadline } from "../async/deadline.ts";
import type { BodyLimit } from "./oversized_body.ts";
import type { Queue, Route } from "./routes.ts";

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
  /** True once its channel is gone: the broker has put the message back into its queue. */
  readonly lost: boolean;
  /**
   * It waits for something else than its consumer, until disposed. Meanwhile another may take its place in the prefetch, as
   * long as no more than 1000 messages and 64 MiB wait so in a connection context; of more, the one that has waited longest
   * is told by `evict` that its place is needed.
   */
  waits(evict: () => void): Disposable;
  /** Done: the queue forgets it. `soon`: told some milliseconds later, with others; not where few may be unsettled at once. */
  ack(when?: "soon"): void;
  /** Not done: back into the queue, or dropped (dead-lettered where a policy says so). */
  reject(requeue: boolean): void;
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
   * Makes the exchange, and the queue with its binding where the route has one.
   *
   * @throws {TopologyError} if it exists in another form.
   */
  declare(route: Route, deadline: Deadline): Promise<void>;
  /**
   * Sends, and resolves when the broker has taken it. Sent again with the same `id` after a lost connection. Where too much
   * is sent and not settled, it waits its turn.
   *
   * @throws {NoRouteError} mandatory, and no queue takes it.
   * @throws {RejectedError} the broker said no.
   * @throws {BlockedError} the broker took nothing until the deadline.
   * @throws {UnconfirmedError} sent, and not confirmed by the deadline: in doubt.
   */
  publish(route: Route, message: Message, deadline: Deadline): Promise<void>;
  /**
   * Sends without waiting for the broker: what comes back is told to the link's `returned`. Resolves when the bytes are
   * handed to the connection.
   */
  send(route: Route, message: Message, deadline: Deadline): Promise<void>;
  /** Declares the route and consumes its queue; `receive` must not throw. */
  consume(
    route: Route,
    receive: (delivery: Delivery) => void,
    options: ConsumeOptions,
    deadline: Deadline,
  ): Promise<Consumer>;
  /**
   * What is in a queue; undefined if it does not exist.
   *
   * @throws {TopologyError} it exists in another form.
   */
  look(queue: Queue, deadline: Deadline): Promise<QueueCounts | undefined>;
  /** Takes away the binding of a route's queue. */
  unbind(route: Route, deadline: Deadline): Promise<void>;
  /**
   * Removes a queue that has no ready message and no consumer; false if it has one. The broker does both in one step, but of
   * a quorum queue, which is looked at and then removed.
   */
  removeEmpty(queue: Queue, deadline: Deadline): Promise<boolean>;
}

/** What is in a queue, as the broker tells it. */
export interface QueueCounts {
  /** Messages that are ready; those that are delivered and not settled are not told. */
  readonly messages: number;
  /** Its consumers. */
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

/** A queue as the broker tells of it. */
export type QueueStatus =
  | {
    /** It can be used. */
    readonly state: "open";
    /** Messages that wait for a consumer. */
    readonly messages: number;
    /** How many consume it. */
    readonly consumers: number;
  }
  | {
    /** There is no such queue; it is another connection's alone, which lives; it was not told by the deadline. */
    readonly state: "gone" | "locked" | "unknown";
  };

/** The private inbox of a link, by the rules of a profile. */
export interface InboxOptions {
  /** In its name, in place of random characters. */
  readonly member?: string | undefined;
  /** Its route. */
  route(name: string): Route;
}

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
  /** Reads, besides the inbox, the queue for the answers of one call, until disposed; see `answers`. */
  startCallQueue(call: string, deadline: Deadline): Promise<Disposable>;
  /** How a queue is now. Never rejects, and hurts no channel that others use. */
  inspect(queue: string, deadline: Deadline): Promise<QueueStatus>;
  /** Consumers of a queue now; undefined where it cannot be told by the deadline. */
  consumers(queue: string, deadline: Deadline): Promise<number | undefined>;
  /** Tells of losses and returns, until disposed. */
  onEvent(watcher: (event: TransportEvent) => void): Disposable;
  /** How both connections are now, and what was last proven of them. */
  health(): TransportHealth;
  /** While it rests, nobody uses it: it stays connected, but keeps no process alive. */
  rest(resting: boolean): void;
}

/** TLS settings of `amqps:` URLs. Certificates are always verified. */
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

/** Whom a connection logs in as. */
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
 */
export type ConnectionState = "up" | "blocked" | "recovering" | "failed";

/** One of the two connections of a link. */
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

/** The connection that consumes. */
export interface ConsumingHealth extends ConnectionHealth {
  /** Consumers that there should be, and those that consume on the connection as it is now. */
  readonly consumers: { readonly wanted: number; readonly consuming: number };
}

/** Both connections of a link. */
export interface TransportHealth {
  /** The one that sends. */
  readonly publishing: ConnectionHealth;
  /** The one that receives. */
  readonly consuming: ConsumingHealth;
  /** Deliveries that were settled after their channel was gone: the broker delivers them again. */
  readonly stale: number;
}

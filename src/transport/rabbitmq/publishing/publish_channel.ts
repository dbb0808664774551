/** Channel for publishing: opened when it is first needed, and again after a loss. @module */
import type {
  Channel,
  ConfirmListener,
  ReturnedMessage,
} from "../../../amqp/mod.ts";
import {
  type Deadline,
  delay,
  settledWithin,
  withDeadline,
} from "../../../async/deadline.ts";
import type { Route } from "../routes/entities.ts";
import type { Message } from "../../transport.ts";
import {
  disposedError,
  invalidMessageError,
  publishTimeoutError,
} from "./publish_errors.ts";
import { checkHeaders, contentOf } from "./message_content.ts";
import type { Movable } from "../connection/connection_moves.ts";
import type { SupervisedConnection } from "../connection/supervised_connection.ts";
import type { Topology } from "../connection/topology.ts";

/** Milliseconds for which a channel is used at least, before it is replaced because the broker refuses messages. */
const MIN_USE_MS = 100;
/** Milliseconds after which a replaced channel is closed, although the broker has not confirmed all of its messages. */
const MAX_SETTLING_MS = 30_000;

/** Collaborators of a channel for publishing. */
export interface PublishChannelOptions {
  /** Connection on which the channel is opened. */
  readonly connection: SupervisedConnection;
  /** Declares the exchanges of routes. */
  readonly topology: Topology;
  /** Called with each mandatory message that reached no queue. */
  readonly onReturned: (returned: ReturnedMessage) => void;
}

/** A channel for publishing, with or without confirms. */
export class PublishChannel implements Movable {
  readonly #options: PublishChannelOptions;
  readonly #confirms: boolean;
  readonly #closing = new AbortController();
  /** Functions that end the waits of `waitFor`. */
  readonly #waiters = new Set<() => void>();
  #current: Channel | undefined;
  /** Time at which the channel was opened, in milliseconds of the monotonic clock. */
  #openedAt = 0;
  /** A move fails nothing: all that was sent on the earlier connection is confirmed there. */
  readonly isMovable = true;
  /** Replaced channels, which are closed when their messages are confirmed. */
  readonly #replaced = new Set<Channel>();
  #opening: Promise<Channel> | undefined;

  /** Opens nothing yet. */
  constructor(options: PublishChannelOptions, confirms: boolean) {
    this.#options = options;
    this.#confirms = confirms;
  }

  /** True once `close` was called. */
  get closed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Closes the channel; messages in flight fail. */
  async close(): Promise<void> {
    this.#closing.abort(disposedError(false));
    for (const end of this.#waiters) end();
    const { connection } = this.#options;
    connection.moves.delete(this);
    const opening = await this.#opening?.catch(() => undefined);
    if (opening) await connection.closeChannel(opening);
    const open = [this.#current, ...this.#replaced];
    await Promise.all(
      open.map((channel) => channel && connection.closeChannel(channel)),
    );
  }

  /**
   * Uses another channel from now on, because the broker has refused a message on this one. RabbitMQ does so as long as the
   * node of a quorum queue is down, if the first message on the channel was published before the queue had a new leader.
   */
  replace(channel: Channel): void {
    const isInUse = channel === this.#current && channel.isOpen;
    if (!isInUse || performance.now() < this.#openedAt + MIN_USE_MS) return;
    void this.#retire(channel, MAX_SETTLING_MS);
  }

  /** Uses a channel of the current connection from now on; resolves when all messages on the earlier channel are confirmed. */
  async move(): Promise<void> {
    const channel = this.#current;
    if (channel?.isOpen) await this.#retire(channel, Infinity);
  }

  /** Uses another channel from now on, and closes this one when its messages are confirmed, or after so many milliseconds. */
  async #retire(channel: Channel, ms: number): Promise<void> {
    this.#current = undefined;
    this.#replaced.add(channel);
    await settledWithin(channel.confirmed(), ms);
    if (!this.closed) await this.#options.connection.closeChannel(channel);
    this.#replaced.delete(channel);
  }

  /** Returns the channel if it can be written to at once: the usual case, without a turn of the event loop. */
  tryGet(route: Route): Channel | undefined {
    const channel = this.#current;
    const { current, blocked } = this.#options.connection;
    const free = channel?.isOpen && !channel.writing && current &&
      !current.isFull && blocked === undefined &&
      !this.#closing.signal.aborted;
    const declared = !route.exchange ||
      this.#options.topology.knows(route.exchange);
    return free && declared ? this.#current : undefined;
  }

  /**
   * Waits until the channel can be written to; throws as `Session.publish`. `sent`: true if the broker may have received the
   * message in an earlier attempt.
   */
  async get(
    route: Route,
    deadline: Deadline,
    sent: boolean,
  ): Promise<Channel> {
    const { connection, topology } = this.#options;
    const wait = <T>(promise: Promise<T>) =>
      this.waitFor(promise, route, deadline, sent);
    for (;;) {
      if (this.#closing.signal.aborted) throw disposedError(sent);
      if (connection.failure) throw connection.failure;
      const { current } = connection;
      if (connection.blocked !== undefined || !current) {
        await wait(connection.stateChange());
        continue;
      }
      const { exchange } = route;
      if (exchange) await wait(topology.exchange(exchange, deadline));
      const channel = await wait(this.#getOrOpen());
      if (current.isFull) await wait(current.drained());
      else if (channel.writing) await wait(channel.writing);
      else if (channel.isOpen && connection.blocked === undefined) {
        return channel;
      } else await delay(0, deadline);
    }
  }

  /** Waits for a promise until the deadline, or until this channel is closed. */
  async waitFor<T>(
    promise: Promise<T>,
    route: Route,
    deadline: Deadline,
    sent: boolean,
  ): Promise<T> {
    // Each wait has a promise of its own: thousands of listeners of one signal would take quadratic time.
    const closing = Promise.withResolvers<never>();
    const end = () => closing.reject(disposedError(sent));
    this.#waiters.add(end);
    if (this.closed) end();
    try {
      return await withDeadline(
        Promise.race([promise, closing.promise]),
        deadline,
        () => publishTimeoutError(this.#options.connection, route, sent),
      );
    } catch (error) {
      throw this.closed ? disposedError(sent) : error;
    } finally {
      this.#waiters.delete(end);
    }
  }

  /** Returns the open channel, or opens one; concurrent callers get the same. */
  #getOrOpen(): Promise<Channel> {
    if (this.#current?.isOpen) return Promise.resolve(this.#current);
    return this.#opening ??= this.#reopen().finally(() =>
      this.#opening = undefined
    );
  }

  async #reopen(): Promise<Channel> {
    const { connection, topology, onReturned } = this.#options;
    const channel = await connection.openChannel(
      { confirms: this.#confirms, onReturned },
      this.#closing.signal,
    );
    void channel.closed.then(({ replyCode }) => {
      if (replyCode === 404) topology.forget(); // an exchange was deleted
    });
    this.#current = channel;
    this.#openedAt = performance.now();
    connection.moves.add(this);
    return channel;
  }
}

/**
 * Writes a message. Returns false, and writes nothing, if the channel is closed.
 *
 * @throws {InvalidValueError} AMQP cannot encode the message.
 */
export function writeMessage(
  channel: Channel,
  route: Route,
  message: Message,
  onConfirm?: ConfirmListener,
): boolean {
  if (!channel.isOpen) return false;
  checkHeaders(message.headers);
  const to = {
    exchange: route.exchange?.name ?? "",
    routingKey: route.key,
    mandatory: message.mandatory,
  };
  const content = contentOf(message);
  try {
    const large = message.oversized !== undefined;
    if (large) channel.publishLarge(to, content, onConfirm);
    else channel.publish(to, content, onConfirm);
    return true;
  } catch (error) {
    throw invalidMessageError(route, error as Error);
  }
}

/** Channel for publishing: opened when it is first needed, and again after a loss. @module */
import type {
  Channel,
  ConfirmListener,
  ReturnedMessage,
} from "../../../amqp/mod.ts";
import { type Deadline, delay, withDeadline } from "../../../async/deadline.ts";
import type { Route } from "../connection/entities.ts";
import type { Message } from "../../transport.ts";
import {
  disposedError,
  invalidMessageError,
  publishTimeoutError,
} from "./publish_errors.ts";
import { checkHeaders, contentOf } from "./message_content.ts";
import type { SupervisedConnection } from "../connection/supervised_connection.ts";
import type { Topology } from "../connection/topology.ts";

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
export class PublishChannel {
  readonly #options: PublishChannelOptions;
  readonly #confirms: boolean;
  readonly #closing = new AbortController();
  /** Functions that end the waits of `waitFor`. */
  readonly #waiters = new Set<() => void>();
  #current: Channel | undefined;
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
    const opening = await this.#opening?.catch(() => undefined);
    if (opening) await connection.closeChannel(opening);
    if (this.#current) await connection.closeChannel(this.#current);
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
    { at, signal }: Deadline,
    sent: boolean,
  ): Promise<T> {
    // Each wait has a signal of its own: adding thousands of listeners to one signal takes quadratic time.
    const ending = new AbortController();
    const end = () => ending.abort();
    const either = signal
      ? AbortSignal.any([ending.signal, signal])
      : ending.signal;
    this.#waiters.add(end);
    if (this.closed) end();
    try {
      return await withDeadline(
        promise,
        { at, signal: either },
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

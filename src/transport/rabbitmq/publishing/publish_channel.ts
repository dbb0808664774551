/** A channel for sending: opened when it is needed, and again after a loss. @module */
import type {
  Channel,
  ConfirmChannel,
  Message as Returned,
} from "npm:amqplib@2.3.1";
import { type Deadline, delay, withDeadline } from "../../../async/deadline.ts";
import type { Route } from "../connection/routes.ts";
import type { Message } from "../../transport.ts";
import {
  type Open,
  openChannel,
  openConfirmChannel,
} from "../amqplib/channel.ts";
import { openChannelOn } from "../connection/open_channel.ts";
import type { Confirmation } from "../amqplib/publisher_confirms.ts";
import { disposed, late, unsendable } from "./publish_errors.ts";
import { checkHeaders } from "../amqplib/properties.ts";
import type { SupervisedConnection } from "../connection/supervised_connection.ts";
import type { Topology } from "../connection/topology.ts";

/** An open channel for sending. */
export type Sending = Open<Channel | ConfirmChannel>;

/** What it works with. */
export interface PublishingParts {
  /** The connection. */
  readonly connection: SupervisedConnection;
  /** Declares the exchange of a route. */
  readonly topology: Topology;
  /** Told of mandatory messages that came back. */
  readonly returned: (message: Returned) => void;
}

/** One channel, with or without confirms. */
export class PublishChannel {
  readonly #parts: PublishingParts;
  readonly #confirms: boolean;
  readonly #closing = new AbortController();
  /** Ends of what is waited for. */
  readonly #waiting = new Set<() => void>();
  #open: Sending | undefined;
  #opening: Promise<Sending> | undefined;

  /** Opens nothing yet. */
  constructor(parts: PublishingParts, confirms: boolean) {
    this.#parts = parts;
    this.#confirms = confirms;
  }

  /** True once it is closed. */
  get closed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** Closes it; what is under way fails. */
  async close(): Promise<void> {
    this.#closing.abort(disposed(false));
    for (const end of this.#waiting) end();
    await (await this.#opening?.catch(() => undefined))?.close();
    await this.#open?.close();
  }

  /** The channel if it can be written to at once: the usual case, without a turn of the event loop. */
  tryGet(route: Route): Sending | undefined {
    const open = this.#open;
    const free = open?.alive && !open.outgoing.full &&
      !open.outgoing.busy(open.channel) &&
      !this.#parts.connection.blocked && !this.#closing.signal.aborted;
    const declared = !route.exchange ||
      this.#parts.topology.knows(route.exchange);
    return free && declared ? this.#open : undefined;
  }

  /** The channel when it can be written to; see `Transport.publish` for what it throws. `sent`: whether the message may be with the broker. */
  async get(
    route: Route,
    deadline: Deadline,
    sent: boolean,
  ): Promise<Sending> {
    const { connection, topology } = this.#parts;
    for (;;) {
      if (this.#closing.signal.aborted) throw disposed(sent);
      if (connection.failure) throw connection.failure;
      if (connection.blocked || !connection.socket) {
        await this.until(connection.changed(), route, deadline, sent);
        continue;
      }
      if (route.exchange) {
        await this.until(
          topology.exchange(route.exchange, deadline),
          route,
          deadline,
          sent,
        );
      }
      const open = await this.until(this.#opened(), route, deadline, sent);
      const full = open.outgoing.busy(open.channel) ?? open.outgoing.full;
      if (full) await this.until(full, route, deadline, sent);
      else if (open.alive && !connection.blocked) return open;
      else await delay(0, deadline);
    }
  }

  /** Waits for what may take long, at most until the deadline or the publisher's own end. */
  async until<T>(
    promise: Promise<T>,
    route: Route,
    { at, signal }: Deadline,
    sent: boolean,
  ): Promise<T> {
    // Thousands may wait: as many listeners at one signal would cost their square.
    const ending = new AbortController();
    const end = () => ending.abort();
    const either = signal
      ? AbortSignal.any([ending.signal, signal])
      : ending.signal;
    this.#waiting.add(end);
    if (this.closed) end();
    try {
      const wait = { at: at, signal: either };
      return await withDeadline(
        promise,
        wait,
        () => late(this.#parts.connection, route, sent),
      );
    } catch (error) {
      throw this.closed ? disposed(sent) : error;
    } finally {
      this.#waiting.delete(end);
    }
  }

  /** The open channel, or a new one; several who ask get the same. */
  #opened(): Promise<Sending> {
    if (this.#open?.alive) return Promise.resolve(this.#open);
    return this.#opening ??= this.#reopen().finally(() =>
      this.#opening = undefined
    );
  }

  async #reopen(): Promise<Sending> {
    const { connection, topology } = this.#parts;
    const open = await openChannelOn<Channel | ConfirmChannel>(
      connection,
      this.#confirms ? openConfirmChannel : openChannel,
      this.#closing.signal,
    );
    open.channel.on("return", this.#parts.returned);
    void open.ended.then(({ code }) => {
      if (code === 404) topology.forget(); // an exchange is gone
    });
    this.#open = open;
    return open;
  }

  /** False if the channel is gone: nothing was sent. */
  write(
    open: Sending,
    route: Route,
    message: Message,
    told?: (word: Confirmation) => void,
  ): boolean {
    const { channel, outgoing, reader } = open;
    if (!open.alive) return false;
    checkHeaders(message.headers);
    const to = { exchange: route.exchange?.name ?? "", key: route.key };
    try {
      const large = message.oversized !== undefined;
      if (large) outgoing.stream(channel, to, message, () => !open.gone);
      else outgoing.publish(channel, to, message);
      if (told) reader.confirms.add(told);
      return true;
    } catch (error) {
      throw unsendable(route, error as Error);
    }
  }
}

/** The channels of one connection context on the link to RabbitMQ. @module */
import { ConnectionDisposedError, InvalidValueError } from "../../errors.ts";
import type { Address, QueueAddress } from "../address.ts";
import type {
  ConsumeOptions,
  Consumer,
  Deadline,
  DeclareOptions,
  Delivery,
  Message,
  Session,
} from "../transport.ts";
import type { ConsumerChannel } from "./consuming/consumers.ts";
import type { QueueRoute, Routes } from "./connection/routes.ts";
import { Publisher, type PublisherParts } from "./publishing/publisher.ts";
import type { Topology } from "./connection/topology.ts";
import { InFlightWindow } from "./publishing/publish_window.ts";

/** Collaborators that a session shares with the others of its transport. */
export interface SessionShares {
  readonly routes: Routes;
  /** Declarations on the connection that consumes. */
  readonly topology: Topology;
  /** Opens one more channel for consumers. */
  readonly openConsumers: () => ConsumerChannel;
  /** Called when the session is closed. */
  readonly closed: () => void;
}

/** Channels of one connection context, opened when they are first needed. */
export class RabbitSession implements Session {
  readonly #publishers: {
    readonly confirmed: Publisher;
    readonly posted: Publisher;
    readonly fanned: Publisher;
    readonly large: Publisher;
  };
  readonly #shares: SessionShares;
  readonly #exclusive = new Set<ConsumerChannel>();
  #shared: ConsumerChannel | undefined;
  #disposing: Promise<void> | undefined;

  constructor(parts: PublisherParts, shares: SessionShares) {
    this.#publishers = {
      confirmed: new Publisher(parts, true),
      posted: new Publisher(parts, false),
      fanned: new Publisher(parts, true),
      // A large body takes long, and other messages must not wait for it.
      large: new Publisher({ ...parts, window: new InFlightWindow() }, true),
    };
    this.#shares = shares;
  }

  async declare(
    address: Address,
    deadline: Deadline,
    { bind = true }: DeclareOptions = {},
  ): Promise<void> {
    this.#check(deadline);
    const { routes, topology } = this.#shares;
    const route = routes.of(address);
    const { exchange, queue } = route;
    // A queue of one process comes with its consumer.
    if (queue && !queue.unique) {
      const unbound = { key: queue.name, queue };
      const declared = bind ? route as QueueRoute : unbound;
      await topology.queue(declared, deadline);
    } else if (exchange) await topology.exchange(exchange, deadline);
  }

  publish(
    address: Address,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    const refusal = this.#refusal(deadline);
    if (refusal) return refusal;
    const route = this.#shares.routes.of(address);
    const { fanned, confirmed, large } = this.#publishers;
    if (message.oversized !== undefined) {
      return large.publish(route, message, deadline);
    }
    // A fanout exchange may vanish, and a 404 ends the channel: that must not hurt casts and replies.
    const publisher = address.kind === "fanout" ? fanned : confirmed;
    return publisher.publish(route, message, deadline);
  }

  send(address: Address, message: Message, deadline: Deadline): Promise<void> {
    const refusal = this.#refusal(deadline);
    if (refusal) return refusal;
    const route = this.#shares.routes.of(address);
    return this.#publishers.posted.post(route, message, deadline);
  }

  async consume(
    address: Address,
    onDelivery: (delivery: Delivery) => void,
    options: ConsumeOptions,
    deadline: Deadline,
  ): Promise<Consumer> {
    this.#check(deadline);
    const route = this.#shares.routes.of(address);
    if (!route.queue) {
      throw new InvalidValueError(
        `Cannot consume ${route.key}: a queue that is known by its name alone has no form to declare`,
      );
    }
    const channel = this.#consumersFor(options);
    try {
      return await channel.add(
        route as QueueRoute,
        onDelivery,
        options,
        deadline,
      );
    } catch (error) {
      if (this.#exclusive.delete(channel)) await channel.close();
      throw error;
    }
  }

  async flush(deadline: Deadline): Promise<void> {
    this.#check(deadline);
    await this.#shares.topology.flush(deadline);
  }

  async unbind(address: QueueAddress, deadline: Deadline): Promise<void> {
    this.#check(deadline);
    const { routes, topology } = this.#shares;
    await topology.unbind(routes.of(address), deadline);
  }

  async removeEmpty(address: Address, deadline: Deadline): Promise<boolean> {
    this.#check(deadline);
    const { routes, topology } = this.#shares;
    const { queue } = routes.of(address);
    return queue === undefined || await topology.removeEmpty(queue, deadline);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#disposing ??= this.#close();
  }

  /** A refused exclusive consumer ends its channel: it gets one of its own. */
  #consumersFor({ exclusive }: ConsumeOptions): ConsumerChannel {
    if (!exclusive) return this.#shared ??= this.#shares.openConsumers();
    const idle = [...this.#exclusive].find((each) => each.idle);
    const own = idle ?? this.#shares.openConsumers();
    this.#exclusive.add(own);
    return own;
  }

  /** Why nothing can be sent; without a promise in the usual case. */
  #refusal(deadline: Deadline): Promise<never> | undefined {
    try {
      return void this.#check(deadline);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #check({ signal }: Deadline): void {
    signal?.throwIfAborted();
    if (this.#disposing) {
      throw new ConnectionDisposedError(
        "Cannot use the connection: it was disposed",
      );
    }
  }

  async #close(): Promise<void> {
    const consumers = [this.#shared, ...this.#exclusive];
    await Promise.all(consumers.map((each) => each?.close()));
    await Promise.all(
      Object.values(this.#publishers).map((publisher) => publisher.close()),
    );
    this.#shares.closed();
  }
}

/** The channels of one connection context on the link to RabbitMQ. @module */
import { ConnectionDisposedError, InvalidValueError } from "../../errors.ts";
import type { Queue, Route } from "../routes.ts";
import type {
  ConsumeOptions,
  Consumer,
  Deadline,
  Delivery,
  Message,
  QueueCounts,
  Session,
} from "../transport.ts";
import type { ConsumerChannel } from "./consuming/consumers.ts";
import type { QueueRoute } from "./consuming/consumer_spec.ts";
import { Publisher, type PublisherParts } from "./publishing/publisher.ts";
import type { Topology } from "./connection/topology.ts";
import { InFlightWindow } from "./publishing/publish_window.ts";

/** Channels of one connection context, opened when they are first needed. */
export class RabbitSession implements Session {
  readonly #publishers: {
    readonly confirmed: Publisher;
    readonly posted: Publisher;
    readonly fanned: Publisher;
    readonly large: Publisher;
  };
  readonly #newConsumers: () => ConsumerChannel;
  readonly #topology: Topology;
  readonly #closed: () => void;
  readonly #exclusive = new Set<ConsumerChannel>();
  #shared: ConsumerChannel | undefined;
  #disposing: Promise<void> | undefined;

  constructor(
    parts: PublisherParts,
    consumers: () => ConsumerChannel,
    topology: Topology,
    closed: () => void,
  ) {
    this.#publishers = {
      confirmed: new Publisher(parts, true),
      posted: new Publisher(parts, false),
      fanned: new Publisher(parts, true),
      // It takes long, and others must not wait for it.
      large: new Publisher({ ...parts, window: new InFlightWindow() }, true),
    };
    this.#newConsumers = consumers;
    this.#topology = topology;
    this.#closed = closed;
  }

  async declare(route: Route, deadline: Deadline): Promise<void> {
    this.#check(deadline);
    // A queue of one process alone comes with its consumer.
    if (route.queue && !route.queue.fresh) {
      await this.#topology.queue(route as QueueRoute, deadline);
    } else if (route.exchange) {
      await this.#topology.exchange(route.exchange, deadline);
    }
  }

  publish(route: Route, message: Message, deadline: Deadline): Promise<void> {
    const refusal = this.#refusal(deadline);
    if (refusal) return refusal;
    // A fanout exchange may vanish, and a 404 ends the channel: that must not hurt casts and replies.
    const { fanned, confirmed, large } = this.#publishers;
    if (message.oversized !== undefined) {
      return large.publish(route, message, deadline);
    }
    const publisher = route.exchange?.type === "fanout" ? fanned : confirmed;
    return publisher.publish(route, message, deadline);
  }

  send(route: Route, message: Message, deadline: Deadline): Promise<void> {
    const refusal = this.#refusal(deadline);
    return refusal ?? this.#publishers.posted.post(route, message, deadline);
  }

  async consume(
    route: Route,
    receive: (delivery: Delivery) => void,
    options: ConsumeOptions,
    deadline: Deadline,
  ): Promise<Consumer> {
    this.#check(deadline);
    if (!route.queue) {
      throw new InvalidValueError(
        `Cannot consume the route ${route.key}: it has no queue`,
      );
    }
    const consumerChannel = this.#consumersFor(options);
    try {
      return await consumerChannel.add(
        route as QueueRoute,
        receive,
        options,
        deadline,
      );
    } catch (error) {
      if (this.#exclusive.delete(consumerChannel)) {
        await consumerChannel.close();
      }
      throw error;
    }
  }

  async look(
    queue: Queue,
    deadline: Deadline,
  ): Promise<QueueCounts | undefined> {
    this.#check(deadline);
    return await this.#topology.look(queue, deadline);
  }

  async unbind(route: Route, deadline: Deadline): Promise<void> {
    this.#check(deadline);
    await this.#topology.unbind(route, deadline);
  }

  async removeEmpty(queue: Queue, deadline: Deadline): Promise<boolean> {
    this.#check(deadline);
    return await this.#topology.removeEmpty(queue, deadline);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#disposing ??= this.#close();
  }

  /** A refused exclusive consumer ends its channel: it gets one of its own. */
  #consumersFor({ exclusive }: ConsumeOptions): ConsumerChannel {
    if (!exclusive) return this.#shared ??= this.#newConsumers();
    const idle = [...this.#exclusive].find((each) => each.idle);
    const own = idle ?? this.#newConsumers();
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
    this.#closed();
  }
}

/** Session on RabbitMQ: the channels of one connection context. @module */
import { ConnectionDisposedError, InvalidValueError } from "../../errors.ts";
import { type Address, type QueueAddress, queueName } from "../address.ts";
import type { Destination } from "../destination.ts";
import type {
  BrowseOptions,
  Browser,
  ConsumeOptions,
  Consumer,
  Deadline,
  DeclareOptions,
  Delivery,
  Message,
  Session,
} from "../transport.ts";
import { openBrowser } from "./consuming/browsing.ts";
import type { ConsumerChannel } from "./consuming/consumers.ts";
import type { SupervisedConnection } from "./connection/supervised_connection.ts";
import { isQuorum, type QueueRoute } from "./routes/entities.ts";
import type { Routes } from "./routes/routes.ts";
import { Publisher, type PublisherOptions } from "./publishing/publisher.ts";
import type { Topology } from "./connection/topology.ts";
import { InFlightWindow } from "./publishing/publish_window.ts";
import { QuorumSender } from "./publishing/quorum_sender.ts";
import { UnconfirmedSender } from "./publishing/unconfirmed_sender.ts";

/** Collaborators that a session shares with the other sessions of its transport. */
export interface SessionDependencies {
  readonly routes: Routes;
  /** The consuming connection. */
  readonly connection: SupervisedConnection;
  /** Declarations on the consuming connection. */
  readonly topology: Topology;
  /** Creates a channel for consumers. */
  readonly openConsumers: () => ConsumerChannel;
  /** Called when the session has been closed. */
  readonly onClose: () => void;
}

/** Ports of URLs that name none. */
const PORTS: Readonly<Record<string, number>> = {
  "amqp:": 5672,
  "amqps:": 5671,
};

/** Session of one connection context; each channel is opened when it is first needed. */
export class RabbitSession implements Session {
  readonly system = "rabbitmq";
  readonly #publishers: {
    readonly confirmed: Publisher;
    readonly unconfirmed: UnconfirmedSender;
    readonly fanout: Publisher;
    readonly unconfirmedFanout: UnconfirmedSender;
    readonly large: Publisher;
    /** Unconfirmed messages to quorum queues. */
    readonly quorum: QuorumSender;
    /** Messages to queues of one process, with confirms and without. */
    readonly direct: Publisher;
    readonly unconfirmedDirect: QuorumSender;
  };
  readonly #dependencies: SessionDependencies;
  readonly #connection: PublisherOptions["connection"];
  readonly #exclusive = new Set<ConsumerChannel>();
  #shared: ConsumerChannel | undefined;
  #disposing: Promise<void> | undefined;

  constructor(publishing: PublisherOptions, dependencies: SessionDependencies) {
    this.#publishers = {
      confirmed: new Publisher(publishing),
      unconfirmed: new UnconfirmedSender(publishing),
      fanout: new Publisher(publishing),
      unconfirmedFanout: new UnconfirmedSender(publishing),
      // a large body takes long to send, and other messages must not wait for it
      large: new Publisher({ ...publishing, window: new InFlightWindow() }),
      quorum: new QuorumSender(publishing),
      // RabbitMQ 3.10 blocks a channel with its first message to a queue whose leader is frozen: requests must not be on it
      direct: new Publisher(publishing),
      unconfirmedDirect: new QuorumSender(publishing),
    };
    this.#dependencies = dependencies;
    this.#connection = publishing.connection;
  }

  destination(address: Address): Destination {
    const { exchange, key } = this.#dependencies.routes.of(address);
    const names = [exchange?.name ?? "", key].filter((name) => name !== "");
    const { hostname, port, protocol } = this.#connection.node?.url ?? {};
    return {
      name: names.join(":"),
      routingKey: key || undefined,
      host: hostname,
      port: port ? Number(port) : PORTS[protocol ?? ""],
    };
  }

  async declare(
    address: Address,
    deadline: Deadline,
    { bind = true }: DeclareOptions = {},
  ): Promise<void> {
    this.#assertUsable(deadline);
    const { routes, topology } = this.#dependencies;
    const route = routes.of(address);
    const { exchange, queue } = route;
    // a queue of one process is declared by its consumer
    if (queue && !queue.unique) {
      const unbound = { key: queue.name, queue };
      const declared = bind ? route as QueueRoute : unbound;
      await topology.declare(declared, deadline);
    } else if (exchange) await topology.exchange(exchange, deadline);
  }

  publish(
    address: Address,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    const refusal = this.#rejection(deadline);
    if (refusal) return refusal;
    const route = this.#dependencies.routes.of(address);
    const { fanout, confirmed, direct, large } = this.#publishers;
    if (message.oversized !== undefined) {
      return large.publish(route, message, deadline);
    }
    if (address.kind === "direct") {
      return direct.publish(route, message, deadline);
    }
    // A fanout exchange may be deleted at any time, and the 404 closes the channel; casts and replies must not be on that channel.
    const publisher = address.kind === "fanout" ? fanout : confirmed;
    return publisher.publish(route, message, deadline);
  }

  send(address: Address, message: Message, deadline: Deadline): Promise<void> {
    const refusal = this.#rejection(deadline);
    if (refusal) return refusal;
    const route = this.#dependencies.routes.of(address);
    const { unconfirmed, unconfirmedFanout, quorum, unconfirmedDirect } =
      this.#publishers;
    // As for `publish`: the 404 of a fanout exchange that was deleted must not close the channel of requests and replies.
    if (address.kind === "fanout") {
      return unconfirmedFanout.send(route, message, deadline);
    }
    // A queue that is known by its name is mostly the inbox of a process with the same settings.
    const isSafe = route.queue
      ? !isQuorum(route.queue)
      : !this.#dependencies.routes.hasQuorumInbox;
    if (isSafe) return unconfirmed.send(route, message, deadline);
    const sender = address.kind === "direct" ? unconfirmedDirect : quorum;
    return sender.send(route, message, deadline);
  }

  async consume(
    address: Address,
    onDelivery: (delivery: Delivery) => void,
    options: ConsumeOptions,
    deadline: Deadline,
  ): Promise<Consumer> {
    this.#assertUsable(deadline);
    const route = this.#dependencies.routes.of(address);
    if (!route.queue) {
      throw new InvalidValueError(
        `Cannot consume ${route.key}: a queue that is known by its name alone has no form to declare`,
      );
    }
    const channel = this.#consumersFor(options);
    try {
      const request = { route: route as QueueRoute, onDelivery, options };
      return await channel.add(request, deadline);
    } catch (error) {
      if (this.#exclusive.delete(channel)) await channel.close();
      throw error;
    }
  }

  async flush(deadline: Deadline): Promise<void> {
    this.#assertUsable(deadline);
    const consumers = [this.#shared, ...this.#exclusive];
    await Promise.all(consumers.map((each) => each?.flushAcks()));
    await this.#dependencies.topology.checks.flush(deadline);
  }

  async waitForNewQueues(deadline: Deadline): Promise<void> {
    this.#assertUsable(deadline);
    await this.#dependencies.topology.newQueues?.wait(deadline);
  }

  async unbind(address: QueueAddress, deadline: Deadline): Promise<void> {
    this.#assertUsable(deadline);
    const { routes, topology } = this.#dependencies;
    await topology.checks.unbind(routes.of(address), deadline);
  }

  async removeEmpty(address: Address, deadline: Deadline): Promise<boolean> {
    this.#assertUsable(deadline);
    const { routes, topology } = this.#dependencies;
    const { queue } = routes.of(address);
    return queue === undefined ||
      await topology.checks.removeEmpty(queue, deadline);
  }

  async browse(
    address: Address,
    options: BrowseOptions,
    deadline: Deadline,
  ): Promise<Browser | undefined> {
    this.#assertUsable(deadline);
    const { connection } = this.#dependencies;
    return await openBrowser(connection, queueName(address), options, deadline);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#disposing ??= this.#close();
  }

  /**
   * Returns the channel for a consumer. An exclusive consumer has a channel of its own, because a rejection closes the
   * channel.
   */
  #consumersFor({ exclusive }: ConsumeOptions): ConsumerChannel {
    if (!exclusive) return this.#shared ??= this.#dependencies.openConsumers();
    const idle = [...this.#exclusive].find((each) => each.idle);
    const own = idle ?? this.#dependencies.openConsumers();
    this.#exclusive.add(own);
    return own;
  }

  /** Returns a rejected promise if the session cannot be used; no promise in the usual case, which is faster. */
  #rejection(deadline: Deadline): Promise<never> | undefined {
    try {
      return void this.#assertUsable(deadline);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #assertUsable({ signal }: Deadline): void {
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
    this.#dependencies.onClose();
  }
}
